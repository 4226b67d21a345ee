"""What a measurement report says of each structure of a label map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.instances.diameters import (
    count_objects,
    largest_diameter,
    longest_axes,
)
from medseg.io.dicom.label_objects.planes import planes_of
from medseg.io.dicom.label_objects.segment_codes import Segment
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import stack_of
from medseg.volume import LabelMap


@dataclass(frozen=True)
class StructureMeasurements:
    """Measured of one structure; what does not exist of it is None."""

    segment: Segment
    count: int
    """Parts that do not touch, corners included; 0 where it was not found."""
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


def measure_structures(
    label_map: LabelMap,
    series: Series,
    segments: Sequence[Segment],
    *,
    are_objects: bool = False,
) -> list[StructureMeasurements]:
    """Volume, number of parts and diameters of each structure.

    Diameters within a slice are those on the slices as they were acquired, however
    the label map's own axes lie.

    Args:
        label_map: Numbers of segments, 0 outside; or, of the only segment, numbers
            of objects.
        series: The image that was segmented.
        segments: What the numbers mean.
        are_objects: Whether every number is one object.
    """
    frames = stack_of(series.frames).frames
    row_mm, column_mm = frames[0].pixel_spacing
    is_flat = len(frames) == 1
    measured = []
    for segment in segments:
        mask = (
            label_map.voxels > 0 if are_objects else label_map.voxels == segment.number
        )
        num_voxels = int(np.count_nonzero(mask))
        planes = planes_of(mask, label_map.affine, frames)
        axes = longest_axes(planes, spacing=(row_mm, column_mm))
        count = count_objects(mask)
        if are_objects:
            count = len(np.unique(label_map.voxels[mask]))
        num_pixels = int(np.count_nonzero(planes))
        voxel_ml = label_map.grid.voxel_volume_mm3 / 1000
        measured.append(
            StructureMeasurements(
                segment,
                count,
                volume_ml=None if is_flat else num_voxels * voxel_ml,
                area_mm2=num_pixels * row_mm * column_mm if is_flat else None,
                long_axis_mm=None if axes is None else axes.long_mm,
                short_axis_mm=None if axes is None else axes.short_mm,
                diameter_mm=largest_diameter(mask, label_map.affine)
                if num_voxels and not is_flat
                else None,
            )
        )
    return measured
