"""Volumes and label maps as NIfTI files, written whole or not at all."""

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import OutputError
from medseg.files import atomic_write
from medseg.geometry import orthonormality_error
from medseg.io.geometry_warning import ROUNDING_TOLERANCE, GeometryWarning
from medseg.io.nifti import read_nifti_grid, read_nifti_header
from medseg.io.nifti_affine import NiftiHeader, has_sound_geometry
from medseg.types import Affine

_SCANNER_CODE = 1
_COMPRESSION = 1
_GEOMETRY_FIELDS = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)


def write_nifti(
    path: Path, voxels: np.ndarray, affine: Affine, *, like: Path | None = None
) -> None:
    """Writes voxels as NIfTI, gzipped where the name ends in .gz.

    Args:
        path: Where to; the file appears whole or not at all.
        voxels: Shape (I, J, K), or (C, I, J, K) with channels as the fourth axis in
            the file.
        affine: Voxel index to world in mm, RAS+.
        like: A NIfTI file on the same grid whose qform, sform, their codes and units
            are kept. No text field is copied: it could hold a name.

    Raises:
        OutputError: The file cannot be written, or NIfTI has no such voxel type.
    """
    stored = _storable(voxels, path)
    if stored.ndim == 4:
        stored = np.moveaxis(stored, 0, 3)
        stored = stored[..., 0] if stored.shape[3] == 1 else stored
    header = _header(stored, affine, like)
    # The single-file header is followed by four bytes that say "no extension".
    block = header.binaryblock + b"\0" * (int(header["vox_offset"]) - header.sizeof_hdr)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", _COMPRESSION, stream, mtime=0) as packed:
                packed.write(block)
                packed.write(stored.ravel(order="F").data)
        else:
            stream.write(block)
            stream.write(stored.ravel(order="F").data)


def _storable(voxels: np.ndarray, path: Path) -> np.ndarray:
    """Voxels in the nearest type that NIfTI has, in the machine's byte order."""
    if voxels.dtype == np.bool_:
        return voxels.view(np.uint8)
    if voxels.dtype == np.float16:
        return voxels.astype(np.float32)
    if voxels.dtype.kind not in "iuf" or voxels.dtype.itemsize > 8:
        raise OutputError(f"{path}: NIfTI cannot hold voxels of type {voxels.dtype}")
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _header(stored: np.ndarray, affine: Affine, like: Path | None) -> NiftiHeader:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    kind: Any = Nifti1Header if max(stored.shape) < 1 << 15 else Nifti2Header
    header: NiftiHeader = kind()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header.set_slope_inter(1, 0)
    header.set_xyzt_units("mm")
    if like is None or not _keep_geometry(header, affine, like):
        _set_geometry(header, affine)
    return header


def _set_geometry(header: NiftiHeader, affine: Affine) -> None:
    """The affine as sform, and as qform where a qform can hold it."""
    straight = orthonormality_error(affine) <= ROUNDING_TOLERANCE
    header.set_qform(affine, _SCANNER_CODE if straight else 0, strip_shears=True)
    header.set_sform(affine, _SCANNER_CODE)


def _keep_geometry(header: NiftiHeader, affine: Affine, like: Path) -> bool:
    """Copies the geometry of another file; False where the grids differ."""
    with warnings.catch_warnings():  # said when the scan itself was read
        warnings.simplefilter("ignore", GeometryWarning)
        grid = read_nifti_grid(like, allow_shear=True)
    if tuple(header["dim"][1:4]) != grid.shape or not np.allclose(
        grid.affine, affine, rtol=0, atol=1e-4
    ):
        return False
    model = read_nifti_header(like)
    if "magic" not in model.keys() or not has_sound_geometry(model):  # noqa: SIM118
        return False  # an Analyze header, or one that had to be mended
    for field in _GEOMETRY_FIELDS:
        header[field] = model[field]
    header["pixdim"][:4] = model["pixdim"][:4]
    return True
