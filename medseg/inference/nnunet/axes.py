"""A volume in the axes of nnU-Net's readers, and the way back."""

from dataclasses import dataclass

import numpy as np

from medseg.geometry import (
    Grid,
    Reorientation,
    canonical_reorientation,
    spacing_of,
)
from medseg.nnunet_recipe import NnUNetRecipe
from medseg.types import Affine, Spacing
from medseg.volume import LabelMap, Volume

PICTURE_SPACING = (999.0, 1.0, 1.0)
"""What nnU-Net takes for pictures: slices infinitely far apart."""

_SAME = 2e-7
"""Relative difference of two float32 numbers that came from one."""
_LETTERS = "RAS"


@dataclass(frozen=True)
class NnUNetImage:
    """What nnU-Net's reader hands on, after transposing.

    Attributes:
        voxels: Float32, shape (C, a, b, c).
        spacing: Along (a, b, c).
        source: The grid of the scan.
        turn: Applied to the scan first.
        axes: For each of (a, b, c), the axis of the turned scan.
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float]
    source: Grid
    turn: Reorientation
    axes: tuple[int, int, int]

    def arranged(self, voxels: np.ndarray) -> np.ndarray:
        """An array on the scan's grid, last three axes (i, j, k), in these axes."""
        lead = voxels.ndim - 3
        turned = self.turn.apply(voxels)
        return turned.transpose(*range(lead), *(lead + axis for axis in self.axes))

    def label_map(self, labels: np.ndarray) -> LabelMap:
        """Labels of shape (a, b, c), back on the scan's own grid."""
        turned = labels.transpose(*(int(n) for n in np.argsort(self.axes)))
        voxels = np.ascontiguousarray(self.turn.undo(turned))
        return LabelMap(voxels, self.source.affine)


def nnunet_image(volume: Volume, recipe: NnUNetRecipe) -> NnUNetImage:
    """A scan as the recipe's reader gives it, transposed as the plans say."""
    turn = turn_to(volume.affine, recipe.turned_to)
    spacing = header_spacing(turn.apply_to_affine(volume.affine, volume.grid.shape))
    sides = (spacing[2], spacing[1], spacing[0])
    if recipe.reader == "NaturalImage2DIO":
        sides = PICTURE_SPACING
    first, second, third = recipe.transpose
    # a copy, since it is normalised in place; transposed as a view, as in nnU-Net
    read = np.array(
        turn.apply(volume.voxels).transpose(0, 3, 2, 1), dtype=np.float32, order="C"
    )
    return NnUNetImage(
        voxels=read.transpose(0, first + 1, second + 1, third + 1),
        spacing=(sides[first], sides[second], sides[third]),
        source=volume.grid,
        turn=turn,
        axes=recipe.axes,
    )


def turn_to(affine: Affine, orientation: str | None) -> Reorientation:
    """The permutation and flips that bring a grid closest to an orientation.

    Args:
        affine: Of the grid.
        orientation: Where the axes are to point, such as ``RAS`` or ``LPS``; None
            turns nothing.
    """
    if orientation is None:
        return Reorientation((0, 1, 2), (False, False, False))
    turn = canonical_reorientation(affine)
    other = [
        wanted != letter for wanted, letter in zip(orientation, _LETTERS, strict=True)
    ]
    i, j, k = (flip != more for flip, more in zip(turn.flips, other, strict=True))
    return Reorientation(turn.order, (i, j, k))


def header_spacing(affine: Affine) -> Spacing:
    """The voxel size as a file's header would say it, without the affine's rounding.

    nnU-Net compares voxel sizes with one another and their ratio with a whole number,
    so that the last digit decides. A header keeps short decimal numbers, as float32 in
    NIfTI; the lengths of an affine's columns differ from them by rounding.
    """
    stored = affine[:3, :3].astype(np.float32)
    single = bool(np.array_equal(stored.astype(np.float64), affine[:3, :3]))
    sides: list[float] = []
    for length in spacing_of(affine):
        side = _short(length)
        side = float(np.float32(side)) if single else side
        twin = next((n for n in sides if abs(n - side) <= 2 * _SAME * side), side)
        sides.append(twin)
    return (sides[0], sides[1], sides[2])


def _short(length: float) -> float:
    """The number of six digits that a length is within rounding; else itself."""
    rounded = float(f"{length:.6g}")
    return rounded if abs(rounded - length) <= _SAME * length else length
