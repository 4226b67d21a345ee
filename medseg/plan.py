"""What was decided about a data set before training: one readable, editable YAML."""

from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from medseg.files import write_text
from medseg.instances.targets import LEVELS, Target
from medseg.labels import LabelScheme
from medseg.networks.settings import NetworkSettings
from medseg.settings import Settings, load_settings

MOST_VOXELS = 1 << 30
"""Of a patch."""
MOST_MM = 10_000.0
"""Largest side of a voxel; pictures without a unit count pixels as millimetres."""


class ChannelPlan(Settings):
    """How the intensities of one channel become network input."""

    name: str
    """What the channel holds, such as ``"T1"`` or ``"CT"``."""
    normalization: Literal[
        "ct", "fixed", "zscore", "minmax", "percentile", "stain", "none"
    ] = "zscore"
    """``ct``: clip and scale with the data set's foreground statistics; ``fixed``: the
    same with given numbers, for intensities that are no HU; ``zscore``: each case by
    its own mean and deviation; ``minmax``: each case's smallest and largest intensity
    to 0 and 1; ``percentile``: its 1st and 99th percentile to 0 and 1, for pictures;
    ``stain``: the ground of each picture dark and its cells bright, whatever the stain,
    for microscopy; ``none``: unchanged."""
    nonzero_only: bool = False
    """Take a case's statistics over its non-zero voxels and leave zero voxels zero;
    for scans whose background was set to zero, such as skull-stripped MR."""
    clip: tuple[float, float] | None = None
    """Intensities outside are clipped first (``ct``, ``fixed``)."""
    mean: float = 0.0
    """Subtracted after clipping (``ct``, ``fixed``)."""
    std: float = Field(default=1.0, gt=0)
    """Divided by after subtracting (``ct``, ``fixed``)."""
    least_range: float = Field(default=0.0, ge=0)
    """Smallest range of intensities that becomes 0 to 1 (``percentile``, ``stain``),
    as learnt from the training pictures; a picture with less contrast, such as one
    that shows nothing, keeps its noise small. 0: every picture fills the range."""
    least_range_light: float = Field(default=0.0, ge=0)
    """The same for pictures with a light ground (``stain``); 0: as `least_range`."""
    least_contrast: float = Field(default=0.0, ge=0)
    """How far objects of a picture below `least_range` must stand out from its ground;
    what is fainter is noise and taken away. 0: this channel is not asked."""
    least_contrast_light: float = Field(default=0.0, ge=0)
    """The same for pictures with a light ground; 0: as `least_contrast`."""

    @property
    def contrast_limits(self) -> tuple[float, float, float, float]:
        """All limits for pictures that may show nothing; zeros where there are none."""
        return (
            self.least_range,
            self.least_range_light,
            self.least_contrast,
            self.least_contrast_light,
        )

    @property
    def is_stain(self) -> bool:
        """Whether pictures are stretched by their ground, whatever the stain."""
        return self.normalization == "stain"

    @property
    def is_fixed(self) -> bool:
        """Whether the same numbers scale every scan."""
        return self.normalization in {"ct", "fixed"}

    def least_range_of(self, *, light: bool) -> float:
        """Smallest range that becomes 0 to 1 in a picture with such a ground."""
        return (light and self.least_range_light) or self.least_range

    def least_contrast_of(self, *, light: bool) -> float:
        """How far objects must stand out in a faint picture with such a ground."""
        return (light and self.least_contrast_light) or self.least_contrast

    @property
    def usual_range(self) -> tuple[float, float]:
        """Lowest and highest normalised intensity that is usual."""
        if self.is_fixed and self.clip is not None:
            low, high = self.clip
            return ((low - self.mean) / self.std, (high - self.mean) / self.std)
        wide = self.is_fixed or self.normalization == "zscore"
        return (-1.5, 3.0) if wide else (0.0, 1.0)


CONTRAST_LIMITS = {
    "least_range",
    "least_range_light",
    "least_contrast",
    "least_contrast_light",
}
"""Keys that plans made before did not have: left out of hashes where they are 0."""


class Plan(Settings):
    """Everything that preparing, training and predicting must agree on."""

    name: str
    """Name of the data set."""
    spatial_dims: Literal[2, 3]
    """3 for patches (I, J, K), 2 for slices (I, J) of any K."""
    reorient: bool = True
    """Bring every scan's voxel axes closest to RAS+ first. False for images that
    have no anatomical frame."""
    slice_axis: Literal["i", "j", "k"] = "k"
    """The axis across slices, counted after reorientation; the network sees it last.
    For 2D networks on scans whose thick slices are not axial."""
    target_spacing: tuple[float, float, float]
    """Voxel size in mm that scans are resampled to. A spacing of 0 along k keeps
    each scan's own, as 2D networks do between slices."""
    crop_nonzero: bool = False
    """Cut away the all-zero margin before anything else."""
    channels: tuple[ChannelPlan, ...]
    """One entry per input channel, in order."""
    optional_channels: tuple[str, ...] = ()
    """Channels that a scan may lack, since the network was trained to do without any
    of them (`augmentation.channel_dropout`); they read as zero."""
    mirror_axes: tuple[int, ...] | None = None
    """Axes of a patch that training mirrored, and test-time flips may; None where
    that is not known: all."""
    labels: LabelScheme
    """Structures to segment."""
    instance_target: Target | Literal["none"] = "none"
    """What the network learns of single objects, where labels number them: ``border``
    (rim and inside), ``depth`` (rim, between and core), or ``none``: the objects'
    union alone."""
    patch_size: tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...]
    """Voxels of a training patch along (i, j, k), or (i, j) in 2D."""
    batch_size: int = Field(ge=1, le=1 << 16)
    """Patches per training step."""
    network: NetworkSettings
    """The network."""
    reasons: dict[str, str] = {}
    """Why each number was chosen; for readers only."""

    @model_validator(mode="after")
    def _consistent(self) -> "Plan":
        if len(self.patch_size) != self.spatial_dims:
            raise ValueError(
                f"patch_size {self.patch_size} has {len(self.patch_size)} numbers, "
                f"spatial_dims is {self.spatial_dims}"
            )
        if prod(self.patch_size) > MOST_VOXELS:
            raise ValueError(
                f"patch_size {self.patch_size} has more than {MOST_VOXELS} voxels"
            )
        if not self.channels:
            raise ValueError("no channel")
        self._check_spacing()
        names = {channel.name for channel in self.channels}
        if unknown := sorted(set(self.optional_channels) - names):
            raise ValueError(f"optional_channels: {unknown} are no channels")
        if self.instance_target != "none" and not self.labels.instances:
            raise ValueError(
                f"instance_target {self.instance_target}: the labels are structures, "
                "not numbered objects (instances)"
            )
        return self

    def _check_spacing(self) -> None:
        across = self.target_spacing[2]
        least = (*self.target_spacing[:2], across or (self.spatial_dims == 2))
        if min(least) <= 0 or max(self.target_spacing) > MOST_MM:
            raise ValueError(
                f"target_spacing {self.target_spacing}: expected millimetres above 0 "
                f"and up to {MOST_MM}; 0 along k for 2D networks alone"
            )

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the channels hold, in order."""
        return tuple(channel.name for channel in self.channels)

    @property
    def left_right_axis(self) -> int | None:
        """The axis of a patch that runs from left to right, if one does."""
        if not self.reorient:
            return None
        axis = "ijk".replace(self.slice_axis, "").find("i")
        last = 2 if self.spatial_dims == 3 else None
        return axis if axis >= 0 else last

    @property
    def can_mirror(self) -> bool:
        """Whether predictions can be averaged over test-time flips."""
        return self.mirror_axes is None or len(self.mirror_axes) > 0

    @property
    def num_outputs(self) -> int:
        """Channels of the logits: classes with background, or overlapping regions."""
        return len(self.targets.regions) or self.targets.num_classes

    @property
    def targets(self) -> LabelScheme:
        """What the network's classes mean: the labels, or levels of single objects."""
        if self.instance_target == "none":
            return self.labels
        levels = LEVELS[self.instance_target]
        return LabelScheme(names={name: n for n, name in enumerate(levels, start=1)})


def read_plan(path: Path) -> Plan:
    """The plan held by a YAML file.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: It is not a plan; each wrong key is named.
    """
    return load_settings(Plan, path)


def write_plan(path: Path, plan: Plan) -> None:
    """Writes a plan as YAML, each number followed by the reason for it.

    Raises:
        OutputError: The file cannot be written.
    """
    values = plan.model_dump(mode="json", exclude={"reasons"})
    lines = ["# Edit any value and prepare again; delete the file to plan anew.\n"]
    for key, value in values.items():
        if reason := plan.reasons.get(key):
            lines.append(f"# {reason}\n")
        lines.append(_dump({key: value}))
    lines.append(_dump({"reasons": plan.reasons}))
    write_text(path, "".join(lines))


def _dump(values: dict[str, Any]) -> str:
    """YAML in the given order: lists of numbers on one line, mappings in blocks."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=88)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes sequences of plain values in one line."""


def _represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    plain = not any(isinstance(value, dict) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=plain)


_Dumper.add_representer(list, _represent_list)
