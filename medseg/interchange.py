"""Voxels and affine as images of nibabel, SimpleITK and MONAI.

Of these only nibabel and MONAI share medseg's world, RAS+ in mm; SimpleITK's is LPS,
and its arrays run (k, j, i).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.geometry import direction_of, lps_from_ras, spacing_of
from medseg.types import Affine

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    from monai.data.meta_tensor import MetaTensor

_TORCH_LACKS = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}
"""Voxel types that torch computes nothing with, and the next larger that it does."""


def nibabel_image(voxels: np.ndarray, affine: Affine) -> nibabel.Nifti1Image:
    """A NIfTI image in memory; several channels become its fourth axis.

    Args:
        voxels: Shape (I, J, K) or (C, I, J, K).
        affine: Voxel index to world in mm, RAS+.
    """
    import nibabel

    stored = np.moveaxis(voxels, 0, 3) if voxels.ndim == 4 else voxels
    stored = stored[..., 0] if stored.ndim == 4 and stored.shape[3] == 1 else stored
    stored = _plain(stored)
    fits = max(stored.shape) < 1 << 15
    kind: Any = nibabel.Nifti1Image if fits else nibabel.Nifti2Image
    image = kind(stored, affine, dtype=stored.dtype)
    image.header.set_xyzt_units("mm")
    made: nibabel.Nifti1Image = image
    return made


def sitk_image(voxels: np.ndarray, affine: Affine) -> SimpleITK.Image:
    """An image of SimpleITK, in its LPS world; several channels become a vector.

    Args:
        voxels: Shape (I, J, K) or (C, I, J, K).
        affine: Voxel index to world in mm, RAS+.
    """
    import SimpleITK

    stored = _plain(voxels)
    is_vector = stored.ndim == 4 and stored.shape[0] > 1
    array = stored.reshape(stored.shape[-4 if is_vector else -3 :]).T
    image: Any = SimpleITK.GetImageFromArray(
        np.ascontiguousarray(array), isVector=is_vector
    )
    affine_lps = lps_from_ras(affine)
    image.SetSpacing(spacing_of(affine_lps))
    image.SetDirection(direction_of(affine_lps).ravel().tolist())
    image.SetOrigin(affine_lps[:3, 3].tolist())
    made: SimpleITK.Image = image
    return made


def monai_tensor(voxels: np.ndarray, affine: Affine) -> MetaTensor:
    """A MetaTensor as MONAI's transforms expect it: channel first, with its affine.

    Args:
        voxels: Shape (I, J, K), which gets one channel, or (C, I, J, K).
        affine: Voxel index to world in mm, RAS+.
    """
    import torch
    from monai.data.meta_tensor import MetaTensor

    array = voxels if voxels.ndim == 4 else voxels[None]
    array = array.astype(
        _TORCH_LACKS.get(array.dtype.name, array.dtype.newbyteorder("="))
    )
    meta = {"spatial_shape": np.asarray(array.shape[1:]), "original_channel_dim": 0}
    return MetaTensor(
        torch.from_numpy(np.ascontiguousarray(array)),
        affine=torch.from_numpy(np.array(affine)),
        meta=meta,
    )


def _plain(voxels: np.ndarray) -> np.ndarray:
    """Voxels in the nearest type that files hold, in the machine's byte order."""
    if voxels.dtype == np.bool_:
        return voxels.view(np.uint8)
    if voxels.dtype == np.float16:
        return voxels.astype(np.float32)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
