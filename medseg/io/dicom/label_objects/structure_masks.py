"""Structure sets as voxels: one label per voxel, or a mask for each structure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import LabelError
from medseg.geometry import Grid
from medseg.io.dicom.frame import Correction
from medseg.io.dicom.label_objects.planes import grid_of
from medseg.io.dicom.label_objects.structure_areas import (
    DrawnStructure,
    Slices,
    drawn_on,
)
from medseg.io.dicom.label_objects.structure_choice import StructureChoice
from medseg.io.dicom.label_objects.structures import Structure, StructureSet
from medseg.io.dicom.series import Series
from medseg.volume import LabelMap


def structure_masks(structures: StructureSet, series: Series) -> dict[str, np.ndarray]:
    """Each structure on the slices of a series, (n, rows, columns), ordered.

    Raises:
        GeometryError: Contours do not lie in the planes of the slices.
    """
    slices = Slices.of(series)
    return {
        structure.name: np.stack(
            [
                drawn.pixels(plane, slices.shape)
                for plane in range(len(slices.stack.frames))
            ]
        )
        for structure in structures.structures
        for drawn in [drawn_on(structure, slices, structures.path, [])]
    }


def structure_labels(
    structures: StructureSet,
    series: Series,
    grid: Grid,
    *,
    choice: StructureChoice | None = None,
    corrections: list[Correction] | None = None,
) -> LabelMap:
    """One label per voxel: 1, 2, … in the order of the structures, or as chosen.

    Args:
        structures: The contours.
        series: The images that they were drawn on.
        grid: Where to put the labels, such as the grid of the volume read.
        choice: Which structures are wanted, with which values.
        corrections: Told what was cut off, moved, united or left out.

    Raises:
        LabelError: Structures overlap, so that one label cannot say it, and the
            choice does not say which one counts; or no voxel is left.
        GeometryError: Contours do not lie in the planes of the slices.
    """
    told = corrections if corrections is not None else []
    slices = Slices.of(series)
    wanted = [
        (value, drawn_on(structure, slices, structures.path, told))
        for value, structure in _wanted(structures, choice)
    ]
    between = {p for _, drawn in wanted for p in drawn.areas if isinstance(p, float)}
    planes: list[int | float] = [*range(len(slices.stack.frames)), *sorted(between)]
    highest = max((value for value, _ in wanted), default=0)
    canvas = _Canvas(structures.path, planes, slices.shape, highest)
    for value, drawn in wanted:
        painted = canvas.paint(
            value, drawn, first_wins=bool(choice and choice.first_wins)
        )
        if not painted:
            text = f"{drawn.name!r} holds no voxel of the scan that is its own"
            told.append(Correction("empty", text))
    if structures.left_out:
        text = f"{', '.join(map(repr, structures.left_out))}: points or open lines"
        told.append(Correction("no area", text))
    frames = [slices.frame_of(plane) for plane in planes]
    voxels = grid_of(canvas.values, frames, grid, reach_mm=slices.reach)
    if not voxels.any():
        raise LabelError(
            f"{structures.path}: no voxel of the scan lies within its contours; was it "
            "drawn on another image?"
        )
    return LabelMap(voxels, grid.affine)


class _Canvas:
    """Values of structures on planes, painted one structure after the other.

    Args:
        path: The object, for messages.
        planes: As `Slices.plane_at` gives them.
        shape: Rows and columns.
        highest: The largest value that may be painted.
    """

    def __init__(
        self,
        path: Path,
        planes: Sequence[int | float],
        shape: tuple[int, int],
        highest: int,
    ) -> None:
        self.values = np.zeros(
            (len(planes), *shape), dtype=np.uint8 if highest < 256 else np.uint16
        )
        self._path = path
        self._number = {plane: number for number, plane in enumerate(planes)}
        self._painted: list[tuple[int, DrawnStructure]] = []

    def paint(self, value: int, drawn: DrawnStructure, *, first_wins: bool) -> int:
        """Paints a structure where nothing is yet; how many pixels that were.

        Raises:
            LabelError: Something is there already, and `first_wins` is not set.
        """
        painted = 0
        for plane in drawn.areas:
            values = self.values[self._number[plane]]
            mask = drawn.pixels(plane, values.shape)
            taken = mask & (values > 0) & (values != value)
            if taken.any() and not first_wins:
                self._require_outline_only(plane, drawn, values, taken)
            painted += int(mask.sum()) - int(taken.sum())
            values[mask & ~taken] = value
        self._painted.append((value, drawn))
        return painted

    def _require_outline_only(
        self,
        plane: int | float,
        drawn: DrawnStructure,
        values: np.ndarray,
        taken: np.ndarray,
    ) -> None:
        """Refuses pixels deep inside two structures; outlines may run side by side."""
        inner = taken & drawn.pixels(plane, values.shape, with_outline=False)
        for value, other in self._painted:
            both = inner & (values == value)
            if not both.any():
                continue
            if (both & other.pixels(plane, values.shape, with_outline=False)).any():
                raise LabelError(
                    f"{self._path}: {drawn.name!r} overlaps {other.name!r}; one label "
                    "per voxel cannot hold that; say by --structures which one counts"
                )


def _wanted(
    structures: StructureSet, choice: StructureChoice | None
) -> list[tuple[int, Structure]]:
    """Structures with their values, lowest first."""
    if choice is None:
        return list(enumerate(structures.structures, start=1))
    valued = [(choice.value_of(s.name), s) for s in structures.structures]
    return sorted((pair for pair in valued if pair[0]), key=lambda pair: pair[0])
