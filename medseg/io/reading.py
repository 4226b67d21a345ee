"""Reads a volume or a grid, whatever the format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import InputError, MedsegError, UnreadableFileError
from medseg.geometry import Grid
from medseg.io.formats import Format, format_of, read_by_plugin
from medseg.volume import Volume


def read_volume(source: Path | Sequence[Path], *, allow_shear: bool = False) -> Volume:
    """The volume held by a file, a DICOM folder, or several files as channels.

    Args:
        source: One file (further axes, vectors and colours become channels), a
            folder with one DICOM series, or several files on one grid whose channels
            are stacked in the order given; the axes of the first one count.
        allow_shear: Whether a grid with leaning axes is returned as it is instead of
            refused.

    Raises:
        InputError: Something cannot be read or used; the message names the file.
    """
    if isinstance(source, Path):
        return read_one(source, allow_shear=allow_shear)
    if not source:
        raise InputError("no file given, expected one for each channel")
    volumes = [read_one(path, allow_shear=allow_shear) for path in source]
    if len(volumes) == 1:
        return volumes[0]
    first = volumes[0].grid
    volumes[1:] = [volume.turned_to(first) for volume in volumes[1:]]
    for path, volume in zip(source[1:], volumes[1:], strict=True):
        first.require_match(
            volume.grid, what=f"{path} does not lie on the grid of {source[0]}"
        )
    voxels = np.concatenate([volume.voxels for volume in volumes])
    return Volume(voxels, volumes[0].affine)


def read_grid(path: Path, *, allow_shear: bool = False) -> Grid:
    """Shape and affine of a scan, from its header alone where the format allows.

    Raises:
        InputError: As for `read_volume`.
    """
    kind = format_of(path)
    if kind is Format.NIFTI:
        from medseg.io.nifti import read_nifti_grid

        return read_nifti_grid(path, allow_shear=allow_shear)
    if kind is Format.ITK:
        from medseg.io.itk import read_itk_grid

        return read_itk_grid(path, allow_shear=allow_shear)
    if kind is Format.PICTURE:
        from medseg.io.picture import read_picture_grid

        return read_picture_grid(path)
    return read_one(path, allow_shear=allow_shear).grid


def read_one(
    path: Path, *, allow_shear: bool = False, as_labels: bool = False
) -> Volume:
    """The volume of one file; whatever a reader stumbles on is an `InputError`.

    Args:
        path: A file, or a folder with one DICOM series.
        allow_shear: Whether a grid with leaning axes is returned as it is.
        as_labels: Whether the numbers of a palette picture are wanted.

    Raises:
        InputError: It cannot be read or used.
    """
    kind = format_of(path)
    try:
        return _read_as(kind, path, allow_shear=allow_shear, as_labels=as_labels)
    except (MedsegError, MemoryError, Warning):
        raise
    except Exception as error:  # no single file may end a batch, whatever is in it
        raise UnreadableFileError(
            f"{path}: cannot be read as {kind.value}: no reader expects what is in it "
            f"({type(error).__name__}: {error!s:.100}); copy or export it again"
        ) from error


def _read_as(kind: Format, path: Path, *, allow_shear: bool, as_labels: bool) -> Volume:
    if kind is Format.NIFTI:
        from medseg.io.nifti import read_nifti

        return read_nifti(path, allow_shear=allow_shear)
    if kind is Format.ITK:
        from medseg.io.itk import read_itk

        return read_itk(path, allow_shear=allow_shear)
    if kind is Format.PICTURE:
        from medseg.io.picture import read_picture

        return read_picture(path, as_labels=as_labels)
    if kind is Format.PLUGIN:
        return read_by_plugin(path)
    from medseg.io.dicom.scan import read_dicom

    return read_dicom(path, allow_shear=allow_shear)
