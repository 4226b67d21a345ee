"""Writes volumes and label maps; the name's suffix chooses the format."""

from pathlib import Path

import numpy as np

from medseg.errors import OutputError
from medseg.io.formats import Format, format_or_none
from medseg.types import Affine
from medseg.volume import LabelMap, Volume


def write_volume(path: Path, volume: Volume, *, like: Path | None = None) -> None:
    """Writes a volume, whole or not at all, keeping voxel type and affine.

    Args:
        path: Where to; the suffix says the format.
        volume: What to write; several channels become the fourth axis (NIfTI), a
            vector (NRRD, MetaImage) or colours (PNG, TIFF).
        like: A file on the same grid whose header's geometry fields are kept.

    Raises:
        OutputError: It cannot be written, or the format cannot hold it.
    """
    _write(path, volume.voxels, volume.affine, like)


def write_label_map(
    path: Path, label_map: LabelMap, *, like: Path | None = None
) -> None:
    """Writes a label map, whole or not at all, keeping voxel type and affine.

    Args:
        path: Where to; the suffix says the format.
        label_map: What to write.
        like: A file on the same grid whose header's geometry fields are kept.

    Raises:
        OutputError: It cannot be written, or the format cannot hold it.
    """
    _write(path, label_map.voxels, label_map.affine, like)


def _write(path: Path, voxels: np.ndarray, affine: Affine, like: Path | None) -> None:
    kind = format_or_none(path)
    model = like if like is not None and format_or_none(like) is kind else None
    if kind is Format.NIFTI:
        from medseg.io.nifti_writing import write_nifti

        write_nifti(path, voxels, affine, like=model)
        return
    if kind is Format.ITK:
        from medseg.io.itk import write_itk

        write_itk(path, voxels, affine)
        return
    if kind is Format.PICTURE:
        from medseg.io.picture import write_picture

        write_picture(path, voxels, affine)
        return
    raise OutputError(
        f"{path}: no format has this suffix; expected .nii.gz, .nii, .nrrd, .mha, "
        ".mhd, .png or .tif"
    )
