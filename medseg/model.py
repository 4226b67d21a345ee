"""The model folder: weights, what they need to be used, and a card for people.

    weights.safetensors   the network's parameters and buffers
    model.yaml            plan, label scheme, provenance, hash of the weights
    golden.safetensors    what the network says to a synthetic image: proof for others
    trained_on.txt        hashes of the image files that it was trained on
    training_ranges.json  what scans and findings of training were like, to judge others
    card.md               the same for a reader

A folder is self-contained: predicting needs nothing else, and loading it executes no
code of its own.
"""

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
import yaml
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medseg import __version__
from medseg.ancestry import TRAINED_ON, Ancestor, TrainedOn
from medseg.bundle_recipe import BundleRecipe
from medseg.errors import MissingFileError, ModelError, OutputError, PluginError
from medseg.files import atomic_folder, hash_file
from medseg.golden import (
    GOLDEN,
    golden_image,
    golden_logits,
    golden_size,
    kept_voxels,
    read_golden,
    write_golden,
)
from medseg.instances.decoding_settings import DecodingSettings
from medseg.networks.build import build_network
from medseg.networks.network import nonfinite_weights
from medseg.networks.plugin_network import require_harmless
from medseg.networks.settings import PluginNetworkSettings
from medseg.nnunet_recipe import NnUNetRecipe
from medseg.plan import Plan
from medseg.postprocessing import CleaningRule
from medseg.setting_errors import nearest_name
from medseg.settings import Record, Settings, load_settings
from medseg.shipped_models import find_starter, starter_names
from medseg.training_ranges import FILE as RANGES
from medseg.training_ranges import TrainingRanges, read_ranges

FORMAT = 1
"""Version of the folder's layout; raised when old readers could not read it."""

SAME_CODE = 1e-2
"""Largest difference, as a share of the logits' range, that other versions of torch and
other processors explain."""

WEIGHTS, DESCRIPTION, CARD = "weights.safetensors", "model.yaml", "card.md"


ExactRecipe: TypeAlias = Annotated[
    NnUNetRecipe | BundleRecipe, Field(discriminator="kind")
]
"""What an imported model does with a scan, whatever tool it comes from."""


class Provenance(Record):
    """Where a model comes from; nothing in it names a patient."""

    created: str = ""
    """When training ended, ISO 8601 with time zone."""
    medseg: str = __version__
    """Version of medseg that trained it."""
    commit: str = ""
    """Commit of the working tree, where there was one."""
    dataset: str = ""
    """Name of the data set."""
    dataset_hash: str = ""
    """Hash of the data set's manifest."""
    store_key: str = ""
    """Hash of the prepared data and settings."""
    fold: int | None = None
    """The fold that was held out, or None when all cases were trained on."""
    num_training_cases: int = 0
    """Cases trained on."""
    num_validation_cases: int = 0
    """Cases held out."""
    steps: int = 0
    """Optimiser steps."""
    seconds: float = 0.0
    """Time spent training."""
    device: str = ""
    """What it was trained on."""
    licence: str = ""
    """Terms of the data that it was trained on, as its description states them."""
    parent: str = ""
    """SHA-256 of the file that it was imported from."""
    ancestors: tuple[Ancestor, ...] = ()
    """The model that training began with, then the one that its training began with,
    and so on; none where weights began at random."""
    num_seen_before: int | None = None
    """Held-out cases of patients whose scans an ancestor was trained on; None where
    that is not known, or nothing was before."""
    validation_dice: dict[str, float] = Field(default_factory=dict)
    """Mean Dice of each structure over the held-out cases, when they were scored."""

    def in_words_if_too_good(self) -> str:
        """That ancestors know held-out cases; empty where they do not, or who knows."""
        if not self.num_seen_before:
            return ""
        return (
            f"Scores are too good: {self.num_seen_before} of the "
            f"{self.num_validation_cases} held-out cases are of patients whose scans a "
            "model before this one was trained on"
        )


class TriedWindows(Settings):
    """Sliding windows that were compared with the reference."""

    size: tuple[int, ...]
    """Voxels of a window, in the order in which the network's axes are streamed."""
    overlap: float
    """Share that the next window covers again."""
    exact: bool = False
    """Tiles with halos of the theoretical receptive field."""
    difference: float = 0.0
    """Mean of 1 − Dice against the reference's label maps."""


class CalibratedWindows(TriedWindows):
    """The sliding windows to predict with, and what they were chosen by."""

    flips: bool = False
    """Whether they were measured with test-time flips; they hold for that alone."""
    epsilon: float
    """What difference was allowed."""
    num_scans: int = 1
    """Scans that were looked at."""
    tried: tuple[TriedWindows, ...] = ()
    """All candidates that were measured, in order."""
    reason: str = ""
    """Why tiles are not exact, where they are not."""

    def describe(self) -> str:
        """The windows in words."""
        size = " x ".join(str(n) for n in self.size)
        kind = "exact tiles" if self.exact else f"overlap {self.overlap:g}"
        return (
            f"{size}, {kind}; 1 - Dice against overlap 0.5 is {self.difference:.4f} "
            f"on parts of {self.num_scans} scans (allowed {self.epsilon:g})"
        )


class ModelDescription(Settings):
    """What model.yaml holds."""

    format: int = FORMAT
    """Layout of the folder."""
    weights_sha256: str
    """Hash of the weights file; a folder whose weights were exchanged is refused."""
    plan: Plan
    """What preparing, training and predicting agree on."""
    provenance: Provenance = Provenance()
    """Where the model comes from."""
    postprocessing: tuple[CleaningRule, ...] = ()
    """What is done to label maps after predicting, in this order."""
    decoding: DecodingSettings | None = None
    """How single objects are found in the network's answer, where it learned them."""
    flips: bool = False
    """Test-time flips are on, as they were for the scores of the held-out cases."""
    windows: CalibratedWindows | None = None
    """Sliding windows that agree with the reference; None takes the reference."""
    exact: ExactRecipe | None = None
    """Predict as the tool that the model was imported from; None for medseg's own."""


@dataclass(frozen=True)
class Model:
    """A trained network with everything that is needed to use it."""

    network: nn.Module
    plan: Plan
    provenance: Provenance
    weights_sha256: str
    postprocessing: tuple[CleaningRule, ...] = ()
    golden: Tensor | None = None
    """Logits kept of the golden image; None where there are none to compare with."""
    decoding: DecodingSettings | None = None
    """How single objects are found in the network's answer, where it learned them."""
    flips: bool = False
    """Test-time flips are on, as they were for the scores of the held-out cases."""
    windows: CalibratedWindows | None = None
    """Sliding windows that agree with the reference; None takes the reference."""
    exact: ExactRecipe | None = None
    """Predict as the tool that the model was imported from; None for medseg's own."""
    ranges: TrainingRanges | None = None
    """What scans and findings of training were like; None where that is not kept."""

    @property
    def identity(self) -> str:
        """A short hash that tells models apart."""
        return self.weights_sha256[:12]

    @property
    def input_ranges(self) -> list[tuple[float, float]]:
        """Usual range of each channel that the network sees."""
        return _input_ranges(self.plan, self.exact)


def save_model(
    folder: Path,
    network: nn.Module,
    plan: Plan,
    provenance: Provenance,
    *,
    postprocessing: tuple[CleaningRule, ...] = (),
    decoding: DecodingSettings | None = None,
    flips: bool = False,
    windows: CalibratedWindows | None = None,
    exact: ExactRecipe | None = None,
    seen: TrainedOn | None = None,
    half: bool = False,
    ranges: TrainingRanges | None = None,
) -> None:
    """Writes a model folder whole, or not at all; an older one is replaced.

    Args:
        folder: The model folder.
        network: As trained; it is not changed.
        plan: What it was trained by.
        provenance: Where it comes from.
        postprocessing: Rules for its label maps.
        decoding: How single objects are found, where it learned them.
        flips: Predict with test-time flips.
        windows: Sliding windows to predict with.
        exact: What an imported model does instead.
        seen: The scans that it was trained on; None where they are not known.
        half: Store weights in half precision; what is kept of the golden image is then
            the answer of weights that were rounded so.
        ranges: What scans and findings of training were like.

    Raises:
        ModelError: Weights are NaN or infinite; an older model stays.
        OutputError: The folder cannot be written.
    """
    if half:
        network = _rounded(network)
    _require_finite(network, folder)
    with atomic_folder(folder) as temporary:
        state = {
            name: _stored(tensor.detach().cpu().contiguous().clone(), half=half)
            for name, tensor in network.state_dict().items()
        }
        _written(folder, lambda: save_file(state, temporary / WEIGHTS))
        description = ModelDescription(
            weights_sha256=hash_file(temporary / WEIGHTS),
            plan=plan,
            provenance=provenance,
            postprocessing=postprocessing,
            decoding=decoding,
            flips=flips,
            windows=windows,
            exact=exact,
        )
        golden = golden_logits(network, _golden_image(plan, exact))
        _written(folder, lambda: write_golden(temporary / GOLDEN, golden))
        (temporary / DESCRIPTION).write_text(
            yaml.safe_dump(
                description.model_dump(mode="json"),
                sort_keys=False,
                default_flow_style=None,
            ),
            encoding="utf-8",
        )
        if seen is not None:
            (temporary / TRAINED_ON).write_text(seen.to_text(), encoding="utf-8")
        (temporary / CARD).write_text(_card(description, ranges), encoding="utf-8")
        if ranges is not None:
            (temporary / RANGES).write_text(ranges.model_dump_json(), encoding="utf-8")
        for file in (WEIGHTS, GOLDEN):  # safetensors makes files for the owner alone
            shutil.copymode(temporary / DESCRIPTION, temporary / file)


def _rounded(network: nn.Module) -> nn.Module:
    """A copy of a network with its weights rounded to half precision."""
    copied = copy.deepcopy(network)
    state = copied.state_dict()
    copied.load_state_dict({name: _stored(t, half=True) for name, t in state.items()})
    return copied


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _written(folder: Path, write: Callable[[], None]) -> None:
    """Writes with safetensors, which has an error of its own for a full disk.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        write()
    except SafetensorError as error:
        raise OutputError(f"{folder}: cannot be written: {error}") from error


def load_model(folder: Path, *, verify: bool = True) -> Model:
    """The model a folder holds, its network on the CPU and in eval mode.

    Args:
        folder: A model folder, or a run folder that holds one.
        verify: Compare the weights with the hash in model.yaml.

    Raises:
        MissingFileError: There is no model folder.
        ModelError: The folder is damaged or of a newer format, or its weights are NaN
            or infinite.
        SettingsError: model.yaml is wrong; each wrong key is named.
    """
    folder = find_model(folder)
    description = load_settings(ModelDescription, folder / DESCRIPTION)
    if description.format > FORMAT:
        raise ModelError(
            f"{folder}: model format {description.format}, this medseg "
            f"({__version__}) reads up to {FORMAT}; install a newer medseg"
        )
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise MissingFileError(f"{weights}: no such file; the model folder is damaged")
    if verify and hash_file(weights) != description.weights_sha256:
        raise ModelError(
            f"{weights}: the file is not the one that model.yaml describes; "
            "copy the model folder again"
        )
    plan = description.plan
    exact = description.exact
    _require_fitting(plan, weights, exact)
    network = _network_of(plan, folder, exact)
    _load_weights(network, weights)
    _require_finite(network, weights)
    golden = read_golden(folder / GOLDEN, size=golden_size(plan.patch_size))
    if isinstance(plan.network, PluginNetworkSettings):
        _require_same_code(network, plan, golden, folder)
    return Model(
        network.eval(),
        plan,
        description.provenance,
        description.weights_sha256,
        description.postprocessing,
        golden,
        description.decoding,
        description.flips,
        description.windows,
        exact,
        read_ranges(folder),
    )


def _network_of(plan: Plan, folder: Path, exact: ExactRecipe | None) -> nn.Module:
    """The plan's network with uninitialised weights.

    Raises:
        ModelError: The plan's numbers do not go together.
    """
    try:
        if isinstance(plan.network, PluginNetworkSettings):
            require_harmless(plan.network)
        return build_network(
            plan.network,
            spatial_dims=plan.spatial_dims,
            in_channels=len(plan.channels) + (exact.extra_channels if exact else 0),
            out_channels=plan.num_outputs,
        )
    except PluginError as error:
        raise PluginError(f"{folder / DESCRIPTION}: {error}") from error
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{folder / DESCRIPTION}: no such network can be built: {reason}"
        ) from error


def _require_same_code(
    network: nn.Module, plan: Plan, golden: Tensor | None, folder: Path
) -> None:
    """Refuses code of others that computes something else than when it was trained.

    Raises:
        ModelError: It answers the golden image otherwise.
    """
    if golden is None:
        return
    found = kept_voxels(golden_logits(network.eval(), _golden_image(plan, None)))
    spread = float(golden.max() - golden.min()) or 1.0
    apart = (
        float((found - golden).abs().max()) / spread
        if found.shape == golden.shape
        else 1.0
    )
    if not apart <= SAME_CODE:
        settings = plan.network
        assert isinstance(settings, PluginNetworkSettings)
        then = settings.source.describe() if settings.source else "unknown"
        raise ModelError(
            f"{folder}: the network {settings.name} that is found here computes "
            f"something else than the one that was trained: its answer to the golden "
            f"image differs by {apart:.2%} of its range; it was trained with {then}"
        )


def _require_fitting(plan: Plan, weights: Path, exact: ExactRecipe | None) -> None:
    """Compares sizes before memory is taken for them.

    Raises:
        ModelError: The file holds weights of another network.
    """
    try:
        with torch.device("meta"):
            expected = _network_of(plan, weights.parent, exact).state_dict()
    except (ModelError, PluginError):
        return  # said when it is built in earnest; MONAI's SwinUNETR needs that
    try:
        with safe_open(weights, framework="pt") as file:
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{weights}: cannot be read: {error}") from error
    for name, tensor in expected.items():
        if list(tensor.shape) != found.get(name):
            raise ModelError(
                f"{weights}: weights do not fit model.yaml: {name} has the shape "
                f"{found.get(name)}, expected {list(tensor.shape)}"
            )


def find_model(folder: Path) -> Path:
    """The model folder at, or right below, a path.

    Args:
        folder: The path; where nothing is there, the name of a model that comes with
            medseg.

    Raises:
        MissingFileError: There is none.
    """
    folder = find_starter(folder) or folder
    for candidate in (folder, folder / "model"):
        if (candidate / DESCRIPTION).is_file():
            return candidate
    raise MissingFileError(
        f"{folder}: no model folder here; expected {DESCRIPTION} and {WEIGHTS}, as "
        f"`medseg train` writes them to RUN/model{_or_starters(folder)}"
    )


def _or_starters(path: Path) -> str:
    """What else could have been meant, where no path can have been."""
    names = starter_names()
    if path.exists() or path.parent != Path() or not names:
        return ""
    return (
        f", or the name of a model that comes with medseg: {', '.join(names)}"
        f"{nearest_name(path.name, names)}"
    )


def _golden_image(plan: Plan, exact: ExactRecipe | None) -> Tensor:
    return golden_image(_input_ranges(plan, exact), golden_size(plan.patch_size))


def _input_ranges(plan: Plan, exact: ExactRecipe | None) -> list[tuple[float, float]]:
    """Of the scan's channels, then of those that a cascade's first stage adds."""
    added = exact.extra_channels if exact else 0
    return [*(channel.usual_range for channel in plan.channels), *[(0.0, 1.0)] * added]


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{path}: weights do not fit model.yaml: {reason}") from error


def _require_finite(network: nn.Module, path: Path) -> None:
    broken = nonfinite_weights(network)
    if broken:
        raise ModelError(
            f"{path}: {len(broken)} tensors of weights hold NaN or infinity, the first "
            f"is {broken[0]}: the training diverged, and such a model can segment "
            "nothing; train again with a lower training.optimizer.learning_rate"
        )


def _card(description: ModelDescription, ranges: TrainingRanges | None) -> str:
    plan, origin = description.plan, description.provenance
    structures = "\n".join(
        f"| {index + 1} | {name} | {value} |"
        for index, (name, value) in enumerate(plan.labels.names.items())
    )
    scores = "\n".join(
        f"| {name} | {value:.4f} |" for name, value in origin.validation_dice.items()
    )
    return f"""# {plan.name}

A research model, not a medical device.

- Input: {", ".join(channel.name for channel in plan.channels)}, {plan.spatial_dims}D,
  resampled to {_joined(plan.target_spacing)} mm
- Network: {plan.network.name}, patches of {_joined(plan.patch_size)} voxels
{_origin(description)}
- medseg {origin.medseg} {origin.commit[:12]}, {origin.created}
- Single objects: {_objects(description.decoding)}
- Test-time flips: {"averaged" if description.flips else "not used"}
- Windows: {_windows(description)}
- After predicting: {"; ".join(r.describe() for r in description.postprocessing) or "-"}
- Plausibility of scans: {ranges.describe() if ranges else "not checked"}
- Weights SHA-256 {description.weights_sha256}
- Data manifest {origin.dataset_hash}
- Licence of the data: {origin.licence or "not stated"}
{_ancestry(origin)}
| index | structure | value in files |
|---|---|---|
{structures}

| structure | mean Dice on held-out cases |
|---|---|
{scores or "| (not scored) | |"}
"""


def _origin(description: ModelDescription) -> str:
    origin, exact = description.provenance, description.exact
    if exact is not None:
        return (
            f"- Imported from {exact.origin(origin.dataset)}\n"
            f"- Checkpoint SHA-256 {origin.parent}"
        )
    return (
        f"- Trained on {origin.num_training_cases} cases of "
        f"{origin.dataset or 'unnamed data'}\n  ({origin.steps} steps, "
        f"{origin.seconds / 60:.1f} minutes on {origin.device})\n"
        f"- Held out: {_fold(origin)}"
    )


def _ancestry(origin: Provenance) -> str:
    """A line for each model before this one; what held-out scores may be worth."""
    lines = [f"- Training began with {one.describe()}" for one in origin.ancestors]
    if words := origin.in_words_if_too_good():
        lines.append(f"- {words}")
    return "".join(f"{line}\n" for line in lines)


def _objects(decoding: DecodingSettings | None) -> str:
    if decoding is None:
        return "not told apart"
    return f"{decoding.describe()} ({decoding.reason or 'by default'})"


def _windows(description: ModelDescription) -> str:
    if description.exact is not None:
        return f"as {description.exact.tool}'s own (exact mode)"
    windows = description.windows
    return "training patches, overlap 0.5" if windows is None else windows.describe()


def _fold(origin: Provenance) -> str:
    if origin.fold is None:
        return "nothing; no honest score is possible from the training data"
    return f"fold {origin.fold}, {origin.num_validation_cases} cases"


def _joined(values: tuple[Any, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)
