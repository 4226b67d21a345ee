"""The models of a task list, applied one after another and merged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from medseg.errors import PredictionError
from medseg.geometry import Grid
from medseg.resampling import resample_objects, resample_volume
from medseg.types import LabelArray, Spacing
from medseg.volume import LabelMap, Volume

Segment = Callable[[Volume, str, list[str]], LabelMap]
"""Makes the label map of a volume, on its grid; notes go into the list."""

CUBIC = 3
"""Degree of the spline that scans are brought to another voxel size with."""


@dataclass(frozen=True)
class Task:
    """One model of the list.

    Attributes:
        name: Of the model, for notes.
        segment: Makes its label map.
        values: What each of its values becomes; others become background.
    """

    name: str
    segment: Segment
    values: Mapping[int, int]


@dataclass(frozen=True)
class Crop:
    """Where to look.

    Attributes:
        segment: Makes the rough model's label map.
        values: Whose bounding box is looked at.
        margin: Millimetres around it.
        spacing: Voxel size of the rough model's scans; None: the scan's own.
    """

    segment: Segment
    values: tuple[int, ...]
    margin: float
    spacing: Spacing | None


@dataclass(frozen=True)
class TaskPredictor:
    """Several models as one.

    Attributes:
        tasks: In the order of work; later ones paint over earlier ones.
        crop: A rough model that finds where to look.
        spacing: Voxel size that all models see; None: the scan's own.
        description: Everything besides weights that decides a label map.
    """

    tasks: tuple[Task, ...]
    crop: Crop | None
    spacing: Spacing | None
    description: str

    has_probabilities: ClassVar[bool] = False

    def predict(
        self,
        volume: Volume,
        *,
        name: str = "scan",
        notes: list[str] | None = None,
        probabilities: Path | None = None,
    ) -> LabelMap:
        """As `ExactPredictor` says; the label maps of all models are merged.

        Raises:
            InputError: The scan does not fit a model.
            PredictionError: Probabilities are asked for.
        """
        if probabilities is not None:
            raise PredictionError(
                "no probabilities are written of a task list, whose models have "
                "different structures; leave --probabilities out"
            )
        notes = [] if notes is None else notes
        highest = max(v for task in self.tasks for v in task.values.values())
        merged: LabelArray = np.zeros(
            volume.grid.shape, np.min_scalar_type(max(highest, 1))
        )
        box = (slice(None),) * 3
        if self.crop is not None:
            box = self.crop_box(self.crop, volume, name, notes)
        part = cropped(volume, box)
        merged[box] = self._merged(part, name, notes, merged.dtype)
        return LabelMap(merged, volume.affine)

    def crop_box(
        self, crop: Crop, volume: Volume, name: str, notes: list[str]
    ) -> tuple[slice, slice, slice]:
        """The voxels to look at: all where the rough model finds nothing."""
        remarks: list[str] = []
        rough = at_spacing(volume, crop.spacing, crop.segment, name, remarks)
        notes += [f"crop: {remark}" for remark in remarks]
        box = box_around(rough.voxels, crop.values, rough.grid, crop.margin)
        if box is None:
            notes.append("crop: nothing was found; the whole scan was looked at")
            return (slice(None),) * 3
        sizes = " x ".join(str(side.stop - side.start) for side in box)
        whole = " x ".join(str(n) for n in volume.grid.shape)
        notes.append(f"crop: {sizes} of {whole} voxels were looked at")
        return box

    def _merged(
        self, part: Volume, name: str, notes: list[str], dtype: np.dtype
    ) -> LabelArray:
        def paint(scan: Volume, name: str, remarks: list[str]) -> LabelMap:
            labels: LabelArray = np.zeros(scan.grid.shape, dtype)
            for task in self.tasks:
                said: list[str] = []
                found = task.segment(scan, name, said).voxels
                remarks += [f"{task.name}: {remark}" for remark in said]
                for value, becomes in task.values.items():
                    labels[found == value] = becomes
            return LabelMap(labels, scan.affine)

        return at_spacing(part, self.spacing, paint, name, notes).voxels


def at_spacing(
    volume: Volume,
    spacing: Spacing | None,
    segment: Segment,
    name: str,
    notes: list[str],
) -> LabelMap:
    """The label map of a scan that is segmented at another voxel size.

    The scan is interpolated by cubic splines, the label map brought back by the nearest
    voxel.
    """
    if spacing is None:
        return segment(volume, name, notes)
    grid = volume.grid.resampled(_along_axes(volume.grid, spacing))
    found = segment(resample_volume(volume, grid, order=CUBIC), name, notes)
    return resample_objects(found, volume.grid)


def _along_axes(grid: Grid, spacing: Spacing) -> Spacing:
    """A spacing along right, anterior and superior, in the order of a grid's axes."""
    letters = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    first, second, third = (spacing[letters[axis]] for axis in grid.orientation)
    return (first, second, third)


def cropped(volume: Volume, box: Sequence[slice]) -> Volume:
    """The voxels of a box, where they lie."""
    starts = [side.start or 0 for side in box]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(starts, dtype=float)
    return Volume(np.ascontiguousarray(volume.voxels[(slice(None), *box)]), affine)


def box_around(
    labels: LabelArray, values: Sequence[int], grid: Grid, margin: float
) -> tuple[slice, slice, slice] | None:
    """The bounding box of values with a margin in mm; None where there are none."""
    mask = np.isin(labels, list(values))
    sides = []
    for axis, (size, step) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        others = tuple(n for n in range(3) if n != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            return None
        more = int(np.ceil(margin / step))
        start, stop = int(found[0]) - more, int(found[-1]) + 1 + more
        sides.append(slice(max(start, 0), min(stop, size)))
    first, second, third = sides
    return (first, second, third)
