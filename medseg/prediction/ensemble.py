"""The models of a call: one, or several that predict together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medseg.calibration.ensemble import FILE as CHOICE
from medseg.calibration.ensemble import read_calibration
from medseg.calibration.windows import joint_windows
from medseg.errors import MissingFileError, ModelError, PredictionError
from medseg.files import hash_text
from medseg.imported.bundle import read_bundle
from medseg.imported.bundle_folder import is_bundle
from medseg.imported.imported_model import ImportedModel
from medseg.imported.nnunet import read_nnunet
from medseg.imported.nnunet_folder import is_nnunet
from medseg.inference.averaging import ensemble
from medseg.inference.engines.benchmark_cache import EngineBenchmarkCache
from medseg.inference.engines.engine import Engine, Variant
from medseg.inference.engines.selection import choose_engine
from medseg.inference.settings import InferenceSettings
from medseg.inference.streaming import Predict
from medseg.instances.decoding_settings import joint_decoding
from medseg.model import (
    DESCRIPTION,
    Model,
    ModelDescription,
    find_model,
    load_model,
)
from medseg.networks.analysis.receptive_field import receptive_field
from medseg.networks.network import SegmentationNetwork
from medseg.plan import Plan
from medseg.postprocessing import joint_rules
from medseg.progress import Progress
from medseg.settings import load_settings
from medseg.tracking.fetch import fetch_model, is_model_uri
from medseg.training_ranges import joint_ranges

PREVIOUS_STAGE = "previous_stage"
"""Folder of the first stage of an imported cascade."""

_MAY_DIFFER = {"name", "patch_size", "batch_size", "network", "reasons"}
"""Parts of the plan that the members of an ensemble need not agree on."""


@dataclass(frozen=True)
class Ensemble:
    """One model or several, as one.

    Attributes:
        folders: Their model folders.
        models: What the folders hold.
        combined: The model that stands for them: the plan that they share, the network
            that sees farthest, rules that all have, an identity made of all weights.
        previous: The previous stage of an imported cascade.
    """

    folders: tuple[Path, ...]
    models: tuple[Model, ...]
    combined: Model
    previous: "Ensemble | None" = None

    def forward(
        self, settings: InferenceSettings, *, device: torch.device, progress: Progress
    ) -> tuple[Predict, str]:
        """What runs a window, and in words how; engines are chosen here.

        Members with the same network as the first run on the engine that is chosen
        for it, once it agrees with torch for them too.

        Raises:
            SettingsError: The engine that was named cannot be had here.
            PredictionError: It does not agree with torch.
            ModelError: Not even torch gives what it gave where a model was saved.
        """
        chosen = self.engines(settings, device=device, progress=progress)
        names = " and ".join(dict.fromkeys(str(engine.variant) for engine in chosen))
        if len(chosen) == 1:
            return chosen[0], names
        overlapping = bool(self.combined.plan.labels.regions)
        joint = ensemble(chosen, average=settings.ensemble, overlapping=overlapping)
        return joint, f"{names}, mean {settings.ensemble} of {len(chosen)} models"

    def engines(
        self, settings: InferenceSettings, *, device: torch.device, progress: Progress
    ) -> list[Engine]:
        """What runs a window of each member; see `forward`."""
        variants: dict[str, Variant] = {}
        chosen: list[Engine] = []
        for folder, model in zip(self.folders, self.models, strict=True):
            kind = model.plan.network.model_dump_json()
            tried = _settings_for(settings, variants.get(kind))
            try:
                engine = self._engine(folder, model, tried, device, progress)
            except PredictionError:
                if tried == settings:
                    raise
                engine = self._engine(folder, model, settings, device, progress)
            variants.setdefault(kind, engine.variant)
            chosen.append(engine)
        return chosen

    def _engine(
        self,
        folder: Path,
        model: Model,
        settings: InferenceSettings,
        device: torch.device,
        progress: Progress,
    ) -> Engine:
        window = settings.window_size or self.combined.plan.patch_size
        book = EngineBenchmarkCache(
            folder,
            model=model.weights_sha256,
            device=device,
            window=window,
            batch_size=settings.least_batch_size,
        )
        return choose_engine(
            model,
            book,
            device=device,
            window=window,
            settings=settings,
            progress=progress,
        )


def _settings_for(
    settings: InferenceSettings, variant: Variant | None
) -> InferenceSettings:
    if variant is None:
        return settings
    return settings.replaced(engine=variant.name, precision=variant.precision)


def load_ensemble(path: Path, *, configuration: str | None = None) -> Ensemble:
    """The model or models meant by a path.

    Args:
        path: A model folder, a run, a folder of runs (all of its models, with what was
            chosen for them together), or several of these separated by commas; a model
            that MLflow keeps (``runs:/RUN_ID``, ``models:/NAME/VERSION``); or a trained
            model of nnU-Net v2 or a MONAI bundle, a folder or zip.
        configuration: Which, where a folder of nnU-Net's holds several.

    Raises:
        MissingFileError: There is no model.
        ModelError: A folder is damaged, the models do not fit together, or what was
            chosen for all of them was chosen for others.
    """
    if is_bundle(path):
        return ensemble_of(path, read_bundle(path))
    if is_nnunet(path):
        return ensemble_of(path, read_nnunet(path, configuration=configuration))
    members = join_models(find_models(path))
    choice = read_calibration(path)
    if choice is None:
        return members
    if choice.weights_sha256 != members.combined.weights_sha256:
        raise ModelError(
            f"{path / CHOICE}: was chosen for other networks than the "
            f"{len(members.models)} in its folder; the call that trained them, with as "
            "many --networks as there are, chooses anew; without the file, the mean of "
            "what was chosen for each is used"
        )
    joint = replace(
        members.combined,
        decoding=choice.decoding or members.combined.decoding,
        windows=choice.windows or members.combined.windows,
    )
    return replace(members, combined=joint)


def plan_of_models(path: Path) -> tuple[Plan, str]:
    """The plan of the model or models meant by a path, and the hash of their weights.

    The network of a model folder is not built: a plug-in need not be there.

    Args:
        path: As `load_ensemble` takes it.

    Raises:
        MissingFileError: There is no model.
        ModelError: A folder is damaged, or the models do not fit together.
        SettingsError: A description is damaged.
    """
    if not (is_bundle(path) or is_nnunet(path)):
        folders = find_models(path)
        if len(folders) == 1:
            found = load_settings(ModelDescription, folders[0] / DESCRIPTION)
            return found.plan, found.weights_sha256
    joint = load_ensemble(path).combined
    return joint.plan, joint.weights_sha256


def join_models(folders: Sequence[Path]) -> Ensemble:
    """The models of these folders, as one.

    Args:
        folders: Model folders, or runs that hold one; at least one.

    Raises:
        MissingFileError: There is no model.
        ModelError: A folder is damaged, or the models do not fit together.
    """
    folders = tuple(find_model(folder) for folder in folders)
    models = tuple(load_model(folder) for folder in folders)
    for folder, model in zip(folders[1:], models[1:], strict=True):
        _require_fit(folders[0], models[0], folder, model)
    return Ensemble(folders, models, _joint(models), _previous(folders[0], models[0]))


def ensemble_of(path: Path, imported: ImportedModel) -> Ensemble:
    """The folds of an imported model, as one.

    Args:
        path: Where it was read from.
        imported: What was read.
    """
    models, before = imported.models, imported.previous
    previous = None if before is None else ensemble_of(path, before)
    return Ensemble((path,) * len(models), models, _joint(models), previous)


def _previous(folder: Path, model: Model) -> Ensemble | None:
    """The first stage of a cascade, which lies in its folder or beside its folds.

    Raises:
        MissingFileError: It is not there.
        ModelError: It is damaged.
    """
    if model.exact is None or not model.exact.cascade:
        return None
    inside, beside = folder / PREVIOUS_STAGE, folder.parent / PREVIOUS_STAGE
    return join_models(find_models(inside if inside.is_dir() else beside))


def find_models(path: Path) -> tuple[Path, ...]:
    """The model folders meant by a path, as `load_ensemble` takes it.

    Raises:
        MissingFileError: There is no model.
    """
    if is_model_uri(str(path)):
        return (find_model(fetch_model(str(path))),)
    if "," in str(path) and not path.exists():
        parts = [Path(part.strip()) for part in str(path).split(",") if part.strip()]
        found = [folder for part in parts for folder in find_models(part)]
        return tuple(dict.fromkeys(found))
    try:
        return (find_model(path),)
    except MissingFileError:
        children = sorted(path.iterdir()) if path.is_dir() else []
        found = []
        for child in children:
            try:
                found.append(find_model(child))
            except MissingFileError:
                continue
        if not found:
            raise
    return tuple(found)


def _require_fit(first: Path, one: Model, second: Path, other: Model) -> None:
    """Refuses models that want another input or give other structures.

    Raises:
        ModelError: The plans differ where they must not.
    """
    if one.exact != other.exact:
        raise ModelError(
            f"{second}: cannot predict together with {first}: they were not imported "
            "from the same model"
        )
    ours, theirs = _shared(one), _shared(other)
    for key, value in ours.items():
        if theirs[key] != value:
            raise ModelError(
                f"{second}: cannot predict together with {first}: {key} is "
                f"{_short(theirs[key])}, there {_short(value)}; an ensemble needs "
                "models of the same prepared data"
            )


def _shared(model: Model) -> dict[str, Any]:
    return model.plan.model_dump(mode="json", exclude=_MAY_DIFFER)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _joint(models: Sequence[Model]) -> Model:
    first = models[0]
    if len(models) == 1:
        return first
    sizes = zip(*(model.plan.patch_size for model in models), strict=True)
    widest = max(models, key=_reach)
    plan = first.plan.replaced(
        patch_size=tuple(max(size) for size in sizes), network=widest.plan.network
    )
    return replace(
        first,
        network=widest.network,
        plan=plan,
        weights_sha256=hash_text("\n".join(sorted(m.weights_sha256 for m in models))),
        postprocessing=joint_rules([model.postprocessing for model in models]),
        decoding=joint_decoding([model.decoding for model in models]),
        flips=all(model.flips for model in models),
        windows=joint_windows([model.windows for model in models]),
        golden=None,
        ranges=joint_ranges([model.ranges for model in models]),
    )


def _reach(model: Model) -> float:
    """How far a network sees; endless where it cannot be told."""
    assert isinstance(model.network, SegmentationNetwork)
    field = receptive_field(model.network)
    if field is None or any(extent is None for extent in field.extent):
        return float("inf")
    return float(sum(extent or 0 for extent in field.extent))
