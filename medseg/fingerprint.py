"""What a data set is like, measured: the ground on which a plan is made."""

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from medseg.errors import SettingsError, StoreError
from medseg.files import write_text
from medseg.settings import Record

Ground: TypeAlias = Literal["all", "dark", "light"]


class ChannelFacts(Record):
    """Intensities of one channel of one case."""

    smallest: float
    """Lowest intensity of the whole scan."""
    largest: float
    """Highest intensity of the whole scan."""
    integer: bool
    """Whether all intensities are whole numbers."""
    zero_fraction: float
    """Share of voxels that are exactly zero."""
    spreads: tuple[float, float] | None = None
    """Of pictures, the ranges of intensities that ``percentile`` and ``stain``
    stretch; None of scans, and where it was not measured."""
    contrast: float | None = None
    """Of pictures, how far structures stand out from the ground: of all connected
    parts, the median; None where there is none."""


class CaseFacts(Record):
    """Sizes, labels and intensities of one case."""

    case_id: str
    """Name of the case."""
    shape: tuple[int, int, int]
    """Voxels along (i, j, k) after bringing the axes closest to RAS+."""
    cropped_shape: tuple[int, int, int]
    """The same without the all-zero margin."""
    spacing: tuple[float, float, float]
    """Voxel size in mm along the reoriented axes."""
    orientation: str
    """Where the axes of the file point."""
    channels: tuple[ChannelFacts, ...]
    """One entry per channel."""
    num_voxels: tuple[int, ...]
    """Voxels of each class, background first; ignored voxels are not counted."""
    num_components: tuple[int, ...]
    """26-connected components of each structure."""
    foreground_cropped: int
    """Structure voxels that the all-zero margin would take away."""
    light: bool = False
    """Of pictures, whether the ground is light; see `stain.Stretch`."""


class PictureContrast(Record):
    """What all but the faintest twentieth of some pictures reach in a channel."""

    percentile_range: float
    """Range that ``percentile`` stretches."""
    stain_range: float
    """Range that ``stain`` stretches."""
    contrast: float
    """How far structures stand out from the ground, median of a picture."""


class IntensityFacts(Record):
    """One channel over the whole data set."""

    name: str
    """What the channel holds."""
    modality: Literal["ct", "other"]
    """Whether intensities are Hounsfield units."""
    modality_reason: str
    """Why."""
    mean: float
    """Mean inside the structures."""
    std: float
    """Deviation inside the structures."""
    median: float
    """Median inside the structures."""
    percentile_00_5: float
    """0.5th percentile inside the structures."""
    percentile_99_5: float
    """99.5th percentile inside the structures."""
    smallest: float
    """Lowest intensity of any scan."""
    largest: float
    """Highest intensity of any scan."""
    integer_cases: int
    """Cases whose intensities are all whole numbers."""
    zero_fraction: float
    """Share of exact zeros, median over cases."""
    contrasts: dict[Ground, PictureContrast] = {}
    """Of pictures that show a structure: all, those with a dark ground, those with a
    light one; without those of which there are none."""


class ClassFacts(Record):
    """One structure over the whole data set."""

    name: str
    """Name in the label scheme."""
    num_cases: int
    """Cases that show it."""
    voxels: int
    """Voxels of it in all cases."""
    fraction: float
    """Share of all scored voxels."""
    num_components: int
    """Connected components in all cases."""
    component_voxels: tuple[float, float, float]
    """Smallest, median and largest component, in voxels."""


class Fingerprint(Record):
    """Everything that was measured on a data set."""

    name: str
    """Name of the data set."""
    key: str = ""
    """Hash of the files it was measured on."""
    num_cases: int
    """Labelled cases that could be read."""
    channels: tuple[IntensityFacts, ...]
    """One entry per channel."""
    classes: tuple[ClassFacts, ...]
    """One entry per structure."""
    pictures: bool
    """Whether the images are pictures (PNG, JPEG, TIFF) without anatomical axes."""
    cases: tuple[CaseFacts, ...]
    """One entry per case."""

    @property
    def spacings(self) -> np.ndarray:
        """Voxel sizes in mm, shape (cases, 3)."""
        return np.asarray([case.spacing for case in self.cases], dtype=float)

    @property
    def shapes(self) -> np.ndarray:
        """Voxels along each axis, shape (cases, 3)."""
        return np.asarray([case.shape for case in self.cases], dtype=float)

    @property
    def cropped_shapes(self) -> np.ndarray:
        """The same without all-zero margins, shape (cases, 3)."""
        return np.asarray([case.cropped_shape for case in self.cases], dtype=float)

    def permuted(self, axes: tuple[int, int, int]) -> "Fingerprint":
        """The same data set, its axes in another order."""
        cases = tuple(
            case.replaced(
                shape=tuple(case.shape[axis] for axis in axes),
                cropped_shape=tuple(case.cropped_shape[axis] for axis in axes),
                spacing=tuple(case.spacing[axis] for axis in axes),
            )
            for case in self.cases
        )
        return self.replaced(cases=cases)


def read_fingerprint(path: Path) -> Fingerprint:
    """The fingerprint that a file holds.

    Raises:
        StoreError: The file is missing or holds something else.
    """
    try:
        return Fingerprint.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SettingsError) as error:
        raise StoreError(
            f"{path}: cannot be read as a fingerprint; run `medseg prepare` again"
        ) from error


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Writes a fingerprint as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, fingerprint.model_dump_json(indent=1))
