"""NRRD and MetaImage files through SimpleITK, which owns both formats.

ITK keeps arrays as (k, j, i) and the world in LPS; both end here. Left-handed
direction matrices are kept as they are.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from medseg.errors import GeometryError, OutputError, UnreadableFileError
from medseg.files import atomic_write
from medseg.geometry import Grid, lps_from_ras
from medseg.interchange import sitk_image
from medseg.io.bytestream import require_memory
from medseg.io.detached import require_own_data
from medseg.io.geometry_warning import settle_affine
from medseg.io.itk_header import read_itk_header
from medseg.types import Affine, Shape
from medseg.volume import Volume

_DETACHED = (".mhd", ".nhdr")

SitkReader: TypeAlias = Any
SitkImage: TypeAlias = Any
"""SimpleITK ships no types."""


def read_itk(path: Path, *, allow_shear: bool = False) -> Volume:
    """The volume of an NRRD or MetaImage file; vectors or a fourth axis are channels.

    Raises:
        InputError: The file is missing, damaged, of another kind, or its geometry is
            unusable.
    """
    reader = _open(path)
    _shape_of(reader, path)
    affine = settle_affine(
        _affine_of(reader, path), source=path, allow_shear=allow_shear
    )
    try:
        with _hushed():
            image = reader.Execute()
    except RuntimeError as error:
        raise UnreadableFileError(f"{path}: {_reason(error)}") from error
    return Volume(_voxels_of(image, path), affine)


def volume_of_itk(image: SitkImage, *, name: Path, allow_shear: bool = False) -> Volume:
    """The volume of an image that SimpleITK holds, as `read_itk` of its file.

    Args:
        image: Two, three or four axes; vectors or a fourth axis are channels.
        name: What messages call it.
        allow_shear: Whether leaning axes are taken as they are.

    Raises:
        InputError: Its voxels or its geometry are unusable.
    """
    affine = lps_from_ras(_affine_lps(image))
    affine = settle_affine(affine, source=name, allow_shear=allow_shear)
    return Volume(_voxels_of(image, name), affine)


def _voxels_of(image: SitkImage, name: Path) -> np.ndarray:
    """The voxels of an image as (C, I, J, K)."""
    shape, num_channels = _shape_of(image, name)
    array = _simpleitk().GetArrayFromImage(image)
    if np.iscomplexobj(array):
        raise UnreadableFileError(f"{name}: complex voxels, expected real numbers")
    if image.GetNumberOfComponentsPerPixel() > 1:
        vectors: np.ndarray = array.reshape(*shape[::-1], num_channels)
        return vectors.transpose(3, 2, 1, 0)
    planes: np.ndarray = array.reshape(num_channels, *shape[::-1])
    return planes.transpose(0, 3, 2, 1)


def read_itk_grid(path: Path, *, allow_shear: bool = False) -> Grid:
    """Shape and affine of an NRRD or MetaImage file, from its header alone.

    Raises:
        InputError: As for `read_itk`.
    """
    reader = _open(path)
    shape, _ = _shape_of(reader, path)
    affine = settle_affine(
        _affine_of(reader, path), source=path, allow_shear=allow_shear
    )
    return Grid(shape, affine)


def write_itk(path: Path, voxels: np.ndarray, affine: Affine) -> None:
    """Writes voxels as a compressed .nrrd or .mha file, whole or not at all.

    Args:
        path: Where to.
        voxels: Shape (I, J, K), or (C, I, J, K) with channels as a vector.
        affine: Voxel index to world in mm, RAS+.

    Raises:
        OutputError: The file cannot be written.
    """
    if path.name.lower().endswith(_DETACHED):
        raise OutputError(
            f"{path}: a header with its voxels in a second file cannot be written "
            "whole; name it .mha or .nrrd"
        )
    sitk = _simpleitk()
    image = sitk_image(voxels, affine)
    with atomic_write(path) as temporary:
        temporary.touch()  # the system's own refusal, which ITK would not pass on
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OutputError(f"{path}: cannot be written: {_reason(error)}") from error


def _simpleitk() -> Any:
    """The module, imported when first needed, its chatter on stderr switched off."""
    import SimpleITK

    module: Any = SimpleITK
    module.ProcessObject.GlobalWarningDisplayOff()
    return module


def _open(path: Path) -> SitkReader:
    """A reader that has read the header."""
    require_own_data(path)
    reader = _simpleitk().ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NrrdImageIO" if _is_nrrd(path) else "MetaImageIO")
    try:
        with _hushed():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise UnreadableFileError(f"{path}: {_reason(error)}") from error
    return reader


@contextmanager
def _hushed() -> Iterator[None]:
    """Sends the process's stderr nowhere: MetaIO complains there past all switches."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _is_nrrd(path: Path) -> bool:
    return path.name.lower().endswith((".nrrd", ".nhdr"))


def _shape_of(source: SitkReader | SitkImage, path: Path) -> tuple[Shape, int]:
    """Spatial shape and number of channels, refusing what memory cannot hold."""
    size = [int(n) for n in source.GetSize()]
    count = getattr(source, "GetNumberOfComponentsPerPixel", None)
    components = int(count() if count else source.GetNumberOfComponents())
    i, j, k, *rest = [*size, 1, 1, 1][: max(len(size), 3)]
    extra = int(np.prod(rest)) if rest else 1
    if (
        min(size, default=0) < 1
        or len(size) not in (2, 3, 4)
        or (extra > 1 and components > 1)
    ):
        raise GeometryError(
            f"{path}: size {size} with {components} values per voxel, expected three "
            "axes of space and at most one of channels"
        )
    name = _simpleitk().GetPixelIDValueAsString(source.GetPixelID())
    bits = next((b for b in (64, 32, 16, 8) if str(b) in name), 64)
    require_memory(i * j * k * extra * components * bits // 8, path)
    return (i, j, k), extra * components


def _affine_of(reader: SitkReader, path: Path) -> Affine:
    """World affine in RAS+ and mm; a 2D image lies in the plane z = 0."""
    affine = _affine_lps(reader)
    header = read_itk_header(path)
    spacing = reader.GetSpacing()[:3]
    header.say_what_is_missing(" x ".join(f"{size:g}" for size in spacing))
    return lps_from_ras(header.in_millimetres(affine))


def _affine_lps(source: SitkReader | SitkImage) -> Affine:
    """World affine in LPS of an image, or of a reader that has read its header."""
    rank = source.GetDimension()
    direction = np.asarray(source.GetDirection()).reshape(rank, rank)
    used = min(rank, 3)
    affine = np.eye(4)
    affine[:used, :used] = direction[:used, :used] * source.GetSpacing()[:used]
    affine[:used, 3] = source.GetOrigin()[:used]
    return affine


def _reason(error: RuntimeError) -> str:
    """What SimpleITK's many lines come down to."""
    text = str(error)
    if "truncated" in text.lower() or "hit eof" in text.lower():
        return "the file is truncated; copy or export it again"
    if "encoding not available" in text:
        return (
            "its encoding is not supported; expected raw, gzip, ascii or hex: save it "
            "with gzip"
        )
    if "Reason: Success" in text:  # MetaIO found too little, the system found no fault
        return "the file is damaged or truncated; copy or export it again"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "unknown reason"
    _, _, tail = last.rpartition("): ")
    return f"cannot be read as an image ({(tail or last)[:160]})"
