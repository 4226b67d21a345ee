"""A trained model of nnU-Net v2 as medseg's own: networks, plan, recipe.

Nothing of nnU-Net is needed, and nothing that is in the files is executed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from medseg import __version__
from medseg.errors import ModelError
from medseg.files import hash_bytes, hash_file
from medseg.imported.architecture import network_settings
from medseg.imported.checkpoint import Checkpoint, read_checkpoint
from medseg.imported.imported_model import ImportedModel, read_json, require_finite
from medseg.imported.labels import NnUNetLabels, read_labels
from medseg.imported.nnunet_folder import (
    DATASET,
    PLANS,
    NnUNetFolder,
    find_folder,
    opened,
)
from medseg.imported.plans import channel_names, configuration_of, recipe_of
from medseg.imported.weights import own_weights
from medseg.model import Model, Provenance
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings
from medseg.nnunet_recipe import NnUNetChannel, NnUNetRecipe
from medseg.plan import ChannelPlan, Plan
from medseg.settings import parse_settings

_BATCH_NORM_TRAINERS = {"nnUNetTrainerBN"}
"""Trainers that put batch normalisation in place of the plans' normalisation."""
_WORDS = (
    *(r"\d+epochs?", r"Benchmark_5epochs", "noDataLoading", "NoMirroring"),
    *("onlyMirror01", r"\d+ep", "DA5", "DA5ord0", "DA5Segord0", "DASegOrd0"),
    *("DAOrd0", "NoDA", "noDummy2DDA", "warmup", "CosAnneal", "BS8"),
    *(r"(?:Vanilla)?Adam(?:\den\d)?", r"Adan(?:\den\d)?", "DiceLoss", "CELoss"),
    *("DiceCELoss_noSmooth", r"Topk10Loss(?:LS01)?", "DiceTopK10Loss"),
    *("NoDeepSupervision", r"probabilisticOversampling(?:_\d{3})?"),
)
_TRAINER = re.compile(rf"nnUNet_?Trainer(?:_*(?:{'|'.join(_WORDS)}))*")
"""Trainers of nnU-Net and TotalSegmentator that build the network of the plans; their
names say what else they change: length, mirroring, augmentation, loss, optimiser."""


def read_nnunet(
    path: Path,
    *,
    configuration: str | None = None,
    previous: Path | None = None,
    orientation: str | None = None,
    as_planned: bool = False,
) -> ImportedModel:
    """A trained model of nnU-Net v2.

    Args:
        path: Its folder (``TRAINER__PLANS__CONFIGURATION``), one above it, or a zip.
        configuration: Which, where there are several.
        previous: For a cascade, the folder of its first stage; by default the one
            called ``3d_lowres`` beside it.
        orientation: Axes of the training files, such as ``LPS``, if they are known.
        as_planned: Take a trainer of unknown name to build the network of its plans.

    Raises:
        MissingFileError: There is no model.
        ModelError: Something in it is not known, or is refused; it is named.
        SettingsError: A number is out of range.
    """
    if orientation is not None and not re.fullmatch("[RL][AP][SI]", orientation):
        raise ModelError(
            f"orientation {orientation!r:.20}: expected three letters such as LPS, RAS"
        )
    with opened(path, configuration=configuration) as folder:
        reading = _Reading.of(folder, orientation=orientation, as_planned=as_planned)
        stage = None
        if reading.recipe.cascade:
            if previous is None:
                first = find_folder(folder.previous)
            else:
                first = find_folder(previous)
            before = _Reading.of(first, orientation=orientation, as_planned=as_planned)
            stage = before.result(None)
        return reading.result(stage)


@dataclass(frozen=True)
class _Reading:
    """One folder on its way to models."""

    folder: NnUNetFolder
    dataset: Mapping[str, Any]
    checkpoints: tuple[Checkpoint, ...]
    plan: Plan
    recipe: NnUNetRecipe

    @classmethod
    def of(
        cls, folder: NnUNetFolder, *, orientation: str | None, as_planned: bool
    ) -> "_Reading":
        plans_file, dataset_file = folder.path / PLANS, folder.path / DATASET
        plans, dataset = read_json(plans_file), read_json(dataset_file)
        checkpoints = tuple(read_checkpoint(file) for file in folder.checkpoints)
        first = checkpoints[0]
        batch_norm = _batch_norm(first.trainer, folder, as_planned=as_planned)
        source = str(plans_file)
        configuration = configuration_of(plans, first.configuration, source=source)
        labels = read_labels(dataset, source=str(dataset_file))
        names = channel_names(dataset, source=str(dataset_file))
        recipe = recipe_of(
            plans,
            configuration,
            labels,
            num_channels=len(names),
            name=first.configuration,
            trainer=first.trainer,
            mirror_axes=first.mirror_axes,
            source=source,
        ).replaced(
            orientation=orientation, keep_largest=_keep_largest(folder.postprocessing)
        )
        network = network_settings(
            configuration,
            order=own_axes(recipe),
            batch_norm=batch_norm,
            source=source,
        )
        name = str(plans.get("dataset_name") or dataset.get("name") or "nnunet")[:80]
        plan = plan_of(name, names, recipe, labels, network)
        return cls(folder, dataset, checkpoints, plan, recipe)

    def result(self, previous: ImportedModel | None) -> ImportedModel:
        models = [
            self._model(checkpoint, file)
            for checkpoint, file in zip(
                self.checkpoints, self.folder.checkpoints, strict=True
            )
        ]
        return ImportedModel(tuple(models), self.folder.folds, previous)

    def _model(self, checkpoint: Checkpoint, file: Path) -> Model:
        network = build_network(
            self.plan.network,
            spatial_dims=self.plan.spatial_dims,
            in_channels=len(self.plan.channels) + self.recipe.extra_channels,
            out_channels=self.plan.num_outputs,
        )
        assert isinstance(self.plan.network, UNetSettings)
        state = own_weights(
            checkpoint.weights,
            network.state_dict(),
            order=own_axes(self.recipe),
            biased=self.plan.network.conv_bias,
            source=str(file),
        )
        require_finite(state, file)
        network.load_state_dict(state)
        return Model(
            network.eval(),
            self.plan,
            Provenance(
                medseg=__version__,
                dataset=self.plan.name,
                num_training_cases=_count(self.dataset.get("numTraining")),
                parent=hash_file(file),
                licence=_licence(self.dataset),
            ),
            hash_bytes(save(state)),
            flips=bool(self.recipe.mirror_axes),
            exact=self.recipe,
        )


def own_axes(recipe: NnUNetRecipe) -> tuple[int, ...]:
    """For each axis of medseg's patch, the axis of nnU-Net's."""
    axes = recipe.axes[-recipe.spatial_dims :]
    return tuple(sorted(range(len(axes)), key=lambda axis: axes[axis]))


def plan_of(
    name: str,
    channels: tuple[str, ...],
    recipe: NnUNetRecipe,
    labels: NnUNetLabels,
    network: UNetSettings,
) -> Plan:
    """The plan of an imported model, in medseg's axes.

    Predicting takes channels, labels and network from it; fine-tuning and export take
    everything.
    """
    order = own_axes(recipe)
    flat = recipe.spatial_dims == 2
    sides = [0.0, 0.0, 0.0]
    for side, axis in zip(recipe.spacing, recipe.axes[-len(order) :], strict=True):
        sides[axis] = side
    if flat:  # the network's slices lie along the axis that it does not see
        sides = [*(side for side in sides if side), 0.0]
    back = {theirs: ours for ours, theirs in enumerate(order)}
    values = {
        "name": name,
        "spatial_dims": recipe.spatial_dims,
        "reorient": recipe.turned_to is not None,
        "slice_axis": "ijk"[recipe.axes[0]] if flat else "k",
        "target_spacing": sides,
        "crop_nonzero": True,
        "channels": [
            channel_plan(name, channel)
            for name, channel in zip(channels, recipe.channels, strict=True)
        ],
        "mirror_axes": sorted(back[axis] for axis in recipe.mirror_axes),
        "labels": labels.scheme,
        "patch_size": [recipe.patch_size[axis] for axis in order],
        "batch_size": 2,
        "network": network,
    }
    return parse_settings(Plan, values, source=f"model {name}")


def channel_plan(name: str, channel: NnUNetChannel) -> ChannelPlan:
    """What nnU-Net does to a channel, in the plan's words.

    Fine-tuning and export go by it; predicting goes by the recipe.
    """
    if channel.scheme == "CTNormalization":
        return ChannelPlan(
            name=name,
            normalization="ct",
            clip=(channel.low, channel.high),
            mean=channel.mean,
            std=max(channel.std, 1e-8),
        )
    if channel.scheme == "ZScoreNormalization":
        return ChannelPlan(name=name, nonzero_only=channel.use_mask)
    if channel.scheme == "RescaleTo01Normalization":
        return ChannelPlan(name=name, normalization="minmax")
    if channel.scheme == "RGBTo01Normalization":
        eight_bits = (0.0, 255.0)
        return ChannelPlan(
            name=name, normalization="fixed", clip=eight_bits, std=eight_bits[1]
        )
    return ChannelPlan(name=name, normalization="none")


def _batch_norm(trainer: str, folder: NnUNetFolder, *, as_planned: bool) -> bool:
    """Whether a trainer puts batch normalisation into the plans' network.

    Raises:
        ModelError: It may build another network than the plans say.
    """
    if trainer in _BATCH_NORM_TRAINERS:
        return True
    if _TRAINER.fullmatch(trainer) or as_planned:
        return False
    raise ModelError(
        f"{folder.path}: trained by {trainer}, a class that may build another network "
        "than its plans say; if it builds that of the plans, say so with --as-planned"
    )


def _keep_largest(path: Path | None) -> tuple[tuple[int, ...], ...]:
    """Unions of label values of which the largest component is kept.

    Raises:
        ModelError: The file asks for something else.
    """
    if path is None:
        return ()
    values = read_json(path)
    names, arguments = (
        values.get(key) for key in ("postprocessing_fns", "postprocessing_kwargs")
    )
    known = "remove_all_but_largest_component_from_segmentation"
    if not isinstance(names, list) or not isinstance(arguments, list):
        raise ModelError(f"{path}: no postprocessing_fns and postprocessing_kwargs")
    rules = []
    for name, given in zip(names, arguments, strict=False):
        if name != known or not isinstance(given, dict):
            raise ModelError(f"{path}: {name!r:.80} is not known; expected {known}")
        if set(given) - {"labels_or_regions", "background_label"} or given.get(
            "background_label", 0
        ):
            raise ModelError(f"{path}: {sorted(given)}: expected labels_or_regions")
        rules.append(tuple(sorted(set(_flat(given.get("labels_or_regions"), path)))))
    return tuple(rules)


def _flat(value: Any, path: Path) -> list[int]:
    """A value, a list of values, or a list of lists, as one list."""
    if isinstance(value, int):
        return [value]
    if isinstance(value, list) and value:
        return [number for part in value for number in _flat(part, path)]
    raise ModelError(f"{path}: labels_or_regions: {value!r:.80}, expected label values")


def _licence(dataset: Mapping[str, Any]) -> str:
    """What dataset.json says about the licence of the data."""
    for key in ("licence", "license"):
        if isinstance(dataset.get(key), str):
            return " ".join(dataset[key].split())[:200]
    return ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
