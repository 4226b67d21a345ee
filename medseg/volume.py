"""Voxels with an affine: what every room up to the patch store exchanges."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medseg.errors import GeometryError
from medseg.geometry import Grid, reorientation_between
from medseg.interchange import monai_tensor, nibabel_image, sitk_image
from medseg.types import Affine, ImageArray, LabelArray, Shape

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    from monai.data.meta_tensor import MetaTensor


@dataclass(frozen=True)
class Volume:
    """Intensities of one scan; a 2D image is a volume with a single k.

    Attributes:
        voxels: Intensities, shape (C, I, J, K), any numeric dtype.
        affine: Voxel index to world position in mm, RAS+.

    Examples:
        >>> import numpy as np
        >>> import medseg
        >>> scan = medseg.Volume(np.zeros((1, 8, 8, 4)), np.diag([1.0, 1.0, 2.5, 1.0]))
        >>> scan
        Volume(1 x 8 x 8 x 4 float64, 1 x 1 x 2.5 mm, RAS)
        >>> scan.to_sitk().GetSpacing()
        (1.0, 1.0, 2.5)
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

    def to_nibabel(self) -> "nibabel.Nifti1Image":
        """As a NIfTI image; several channels become its fourth axis."""
        return nibabel_image(self.voxels, self.affine)

    def to_sitk(self) -> "SimpleITK.Image":
        """As an image of SimpleITK, in its LPS world; channels become a vector."""
        return sitk_image(self.voxels, self.affine)

    def to_monai(self) -> "MetaTensor":
        """As a MetaTensor, shape (C, I, J, K), for MONAI's transforms."""
        return monai_tensor(self.voxels, self.affine)

    def __repr__(self) -> str:
        """What, how large and where, in one line, without the voxels."""
        return f"Volume({_in_words(self.voxels, self.grid)})"

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

    Examples:
        >>> import numpy as np
        >>> import medseg
        >>> labels = np.zeros((8, 8, 4), np.uint8)
        >>> labels[2:5, 2:5, 1:3] = 1
        >>> label_map = medseg.LabelMap(labels, np.diag([1.0, 1.0, 2.5, 1.0]))
        >>> label_map.to_nibabel().shape
        (8, 8, 4)
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

    def to_nibabel(self) -> "nibabel.Nifti1Image":
        """As a NIfTI image."""
        return nibabel_image(self.voxels, self.affine)

    def to_sitk(self) -> "SimpleITK.Image":
        """As an image of SimpleITK, in its LPS world."""
        return sitk_image(self.voxels, self.affine)

    def to_monai(self) -> "MetaTensor":
        """As a MetaTensor of one channel, shape (1, I, J, K)."""
        return monai_tensor(self.voxels, self.affine)

    def __repr__(self) -> str:
        """What, how large and where, in one line, without the voxels."""
        return f"LabelMap({_in_words(self.voxels, self.grid)})"

    def turned_to(self, grid: Grid) -> "LabelMap":
        """The label map in the axis order of a grid of the same voxels, exactly.

        Itself where the grid holds other voxels.
        """
        turn = reorientation_between(self.grid, grid)
        return self if turn is None else LabelMap(turn.apply(self.voxels), grid.affine)


def _shape(array: np.ndarray) -> Shape:
    i, j, k = array.shape[-3:]
    return (int(i), int(j), int(k))


def _in_words(voxels: np.ndarray, grid: Grid) -> str:
    shape = " x ".join(map(str, voxels.shape))
    spacing = " x ".join(f"{size:.4g}" for size in grid.spacing)
    return f"{shape} {voxels.dtype}, {spacing} mm, {grid.orientation}"
