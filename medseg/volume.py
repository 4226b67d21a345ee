"""Voxels with an affine: what every room up to the patch store exchanges."""

from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError
from medseg.geometry import Grid, reorientation_between
from medseg.types import Affine, ImageArray, LabelArray, Shape


@dataclass(frozen=True)
class Volume:
    """Intensities of one scan; a 2D image is a volume with a single k.

    Attributes:
        voxels: Intensities, shape (C, I, J, K), any numeric dtype.
        affine: Voxel index to world position in mm, RAS+.
    """

    voxels: ImageArray
    affine: Affine

    def __post_init__(self) -> None:
        """Refuses arrays of the wrong rank."""
        if self.voxels.ndim != 4:
            raise GeometryError(
                f"volume has {self.voxels.ndim} axes {self.voxels.shape}, expected "
                "4 (channel, i, j, k)"
            )
        _ = self.grid  # refuses an unusable affine

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(_shape(self.voxels), self.affine)

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return int(self.voxels.shape[0])

    def turned_to(self, grid: Grid) -> "Volume":
        """The volume in the axis order of a grid of the same voxels, exactly.

        Itself where the grid holds other voxels.
        """
        turn = reorientation_between(self.grid, grid)
        return self if turn is None else Volume(turn.apply(self.voxels), grid.affine)


@dataclass(frozen=True)
class LabelMap:
    """One integer label per voxel.

    Attributes:
        voxels: Label values, shape (I, J, K).
        affine: Voxel index to world position in mm, RAS+.
    """

    voxels: LabelArray
    affine: Affine

    def __post_init__(self) -> None:
        """Refuses arrays of the wrong rank or kind."""
        if self.voxels.ndim != 3:
            raise GeometryError(
                f"label map has {self.voxels.ndim} axes {self.voxels.shape}, "
                "expected 3 (i, j, k)"
            )
        if not np.issubdtype(self.voxels.dtype, np.integer):
            raise GeometryError(
                f"label map has dtype {self.voxels.dtype}, expected an integer dtype"
            )
        _ = self.grid  # refuses an unusable affine

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(_shape(self.voxels), self.affine)

    def turned_to(self, grid: Grid) -> "LabelMap":
        """The label map in the axis order of a grid of the same voxels, exactly.

        Itself where the grid holds other voxels.
        """
        turn = reorientation_between(self.grid, grid)
        return self if turn is None else LabelMap(turn.apply(self.voxels), grid.affine)


def _shape(array: np.ndarray) -> Shape:
    i, j, k = array.shape[-3:]
    return (int(i), int(j), int(k))
