"""What a measurement report says of each structure of a label map, and its lesions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.geometry import lps_from_ras
from medseg.instances.diameters import largest_diameter, longest_axes, number_objects
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.label_objects.planes import planes_of
from medseg.io.dicom.label_objects.segment_codes import Segment
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import stack_of
from medseg.types import Affine, LabelArray, MaskArray
from medseg.volume import LabelMap

MOST_LESIONS = 50
"""Of a structure that are measured one by one: the largest."""


@dataclass(frozen=True)
class Extent:
    """How large a structure or one of its lesions is; what does not exist is None."""

    volume_ml: float | None = None
    """Of series of several slices."""
    area_mm2: float | None = None
    """Of a single slice."""
    long_axis_mm: float | None = None
    """Longest diameter within a slice of the series."""
    short_axis_mm: float | None = None
    """Longest line across that, in the same region of the slice."""
    diameter_mm: float | None = None
    """Longest diameter in space of one part; of several slices."""

    @property
    def is_on_slices(self) -> bool:
        """Whether a slice of the series shows it; a gap between two may hide it."""
        return self.long_axis_mm is not None


@dataclass(frozen=True)
class Lesion:
    """A part of a structure that touches no other, or a numbered object.

    Attributes:
        number: Its place by size, from 1; of numbered objects their own number.
        extent: How large it is.
        center_mm: Centre of mass in DICOM's patient coordinates (LPS).
        num_voxels: Of the label map.
    """

    number: int
    extent: Extent
    center_mm: tuple[float, float, float]
    num_voxels: int


@dataclass(frozen=True)
class StructureMeasurements:
    """Measured of one structure.

    Attributes:
        segment: The structure.
        count: Parts that do not touch, corners included, or numbered objects; 0 where
            it was not found.
        extent: Of all parts together; diameters are those of the longest part.
        lesions: The largest parts, one by one, of findings in several.
    """

    segment: Segment
    count: int
    extent: Extent
    lesions: tuple[Lesion, ...] = ()


def measure_structures(
    label_map: LabelMap,
    series: Series,
    segments: Sequence[Segment],
    *,
    are_objects: bool = False,
    most_lesions: int = MOST_LESIONS,
) -> list[StructureMeasurements]:
    """Volume, number of parts and diameters of each structure, and of its lesions.

    Diameters within a slice are those on the slices as they were acquired, however
    the label map's own axes lie. Parts are measured one by one where each is a finding
    of its own: of abnormal structures and of numbered objects, not of organs.

    Args:
        label_map: Numbers of segments, 0 outside; or, of the only segment, numbers
            of objects.
        series: The image that was segmented.
        segments: What the numbers mean.
        are_objects: Whether every number is one object.
        most_lesions: Of a structure that are measured one by one.
    """
    frames = stack_of(series.frames).frames
    measured = []
    for segment in segments:
        mask = (
            label_map.voxels > 0 if are_objects else label_map.voxels == segment.number
        )
        parts = label_map.voxels if are_objects else number_objects(mask)
        numbers, counts = np.unique(parts[mask], return_counts=True)
        lesions: tuple[Lesion, ...] = ()
        if len(numbers) > 1 and (are_objects or segment.is_finding):
            largest = np.argsort(-counts, kind="stable")[:most_lesions]
            chosen = dict(zip(numbers[largest], counts[largest], strict=True))
            found = _lesions(parts, chosen, label_map.affine, frames)
            lesions = tuple(found)
            if not are_objects:
                lesions = tuple(_numbered(lesions))
        planes = planes_of(mask, label_map.affine, frames)
        extent = _extent_of(mask, label_map.affine, planes, frames)
        measured.append(StructureMeasurements(segment, len(numbers), extent, lesions))
    return measured


def _extent_of(
    mask: MaskArray, affine: Affine, planes: MaskArray, frames: Sequence[Frame]
) -> Extent:
    """How large what is marked is.

    Args:
        mask: On the label map's grid, or a box of it.
        affine: Of the grid; where it begins does not matter.
        planes: The same on the slices, or a box of them.
        frames: The slices.
    """
    row_mm, column_mm = frames[0].pixel_spacing
    is_flat = len(frames) == 1
    axes = longest_axes(planes, spacing=(row_mm, column_mm))
    num_voxels = int(np.count_nonzero(mask))
    num_pixels = int(np.count_nonzero(planes))
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return Extent(
        volume_ml=None if is_flat else num_voxels * voxel_ml,
        area_mm2=num_pixels * row_mm * column_mm if is_flat else None,
        long_axis_mm=None if axes is None else axes.long_mm,
        short_axis_mm=None if axes is None else axes.short_mm,
        diameter_mm=largest_diameter(mask, affine)
        if num_voxels and not is_flat
        else None,
    )


def _lesions(
    parts: LabelArray,
    chosen: dict[int, int],
    affine: Affine,
    frames: Sequence[Frame],
) -> Iterator[Lesion]:
    """Each chosen part by itself, measured in the boxes that hold it.

    Args:
        parts: Number of the part at each voxel.
        chosen: Numbers of the parts to measure, and their voxels.
        affine: Of the label map.
        frames: The slices.
    """
    from scipy.ndimage import find_objects

    lookup = np.zeros(int(parts.max()) + 1, dtype=np.int32)
    lookup[list(chosen)] = np.arange(1, len(chosen) + 1)
    places = lookup[parts]
    planes = planes_of(places, affine, frames)
    on_slices = find_objects(planes, max_label=len(chosen))
    boxes = find_objects(places, max_label=len(chosen))
    to_lps = lps_from_ras(affine)
    for place, (number, num_voxels) in enumerate(chosen.items(), start=1):
        box, seen = boxes[place - 1], on_slices[place - 1]
        mask = places[box] == place
        start = [side.start for side in box]
        center = np.argwhere(mask).mean(axis=0) + start
        x, y, z = (to_lps[:3, :3] @ center + to_lps[:3, 3]).tolist()
        shown = np.zeros((1, 1, 1), bool) if seen is None else planes[seen] == place
        extent = _extent_of(mask, affine, shown, frames)
        yield Lesion(int(number), extent, (x, y, z), int(num_voxels))


def _numbered(lesions: Sequence[Lesion]) -> Iterator[Lesion]:
    """Lesions in the order of their sizes, numbered from 1."""
    for number, lesion in enumerate(lesions, start=1):
        yield replace(lesion, number=number)
