"""Voxels as text that a page carries: gzip, base64, and a NIfTI header to read them by.

Numbers are uint8, int16 or uint16; what is finer is kept to 1 in 65,535 of its range.
"""

import base64
import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.types import Affine, LabelArray

_LEVEL = 6
_KEPT_TYPES = (np.uint8, np.int16, np.uint16)


@dataclass(frozen=True)
class StoredImage:
    """Intensities as whole numbers, and how they are read."""

    voxels: np.ndarray
    """uint8, int16 or uint16."""
    slope: float = 1.0
    intercept: float = 0.0


def stored_image(image: np.ndarray) -> StoredImage:
    """Intensities in two bytes or one, exact where the values allow it.

    Args:
        image: Any numbers; those that are not finite become the smallest one.
    """
    values = image.astype(np.uint8) if image.dtype == bool else image
    if values.dtype in _KEPT_TYPES:
        return StoredImage(values)
    finite = np.isfinite(values)
    if not finite.any():
        return StoredImage(np.zeros(values.shape, np.uint8))
    low, high = float(values[finite].min()), float(values[finite].max())
    known = values if finite.all() else np.where(finite, values, low)
    if _is_whole(known):
        for kind in (np.int16, np.uint16):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return StoredImage(known.astype(kind))
    if high == low:
        return StoredImage(np.zeros(values.shape, np.uint8), intercept=low)
    slope = (high - low) / 65_535
    steps = np.rint((known.astype(np.float64) - low) / slope)
    return StoredImage(steps.astype(np.uint16), slope, low)


def stored_labels(labels: LabelArray) -> np.ndarray:
    """Label values in the smallest unsigned type that holds them."""
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))), copy=False)


def packed(voxels: np.ndarray) -> str:
    """An array's bytes, first axis fastest, as NIfTI files order them."""
    little = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
    return as_text(gzip.compress(little.tobytes(order="F"), _LEVEL, mtime=0))


def as_text(content: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(content).decode("ascii")


def nifti_header(stored: StoredImage, affine: Affine) -> str:
    """The 352 bytes before the voxels of a NIfTI file of three axes."""
    from nibabel.nifti1 import Nifti1Header

    kind: Any = Nifti1Header
    header = kind()
    header.set_data_dtype(stored.voxels.dtype)
    header.set_data_shape(stored.voxels.shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=0, strip_shears=True)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = stored.slope, stored.intercept
    return as_text(bytes(header.binaryblock) + bytes(4))


def _is_whole(values: np.ndarray) -> bool:
    if np.issubdtype(values.dtype, np.integer):
        return True
    return bool((np.rint(values) == values).all())
