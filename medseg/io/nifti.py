"""NIfTI-1 and NIfTI-2 files, plain or gzipped, as volumes.

nibabel owns the header; the bytes are read here, once, which is faster and bounds
what a damaged or malicious file can ask for. A pair without NIfTI's magic is an
Analyze 7.5 one, whose header says neither orientation nor, but for SPM's, origin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import ONE_AXIS, GeometryError, UnreadableFileError
from medseg.geometry import Grid
from medseg.io.bytestream import ByteSource, open_file
from medseg.io.geometry_warning import settle_affine, warn_geometry
from medseg.io.nifti_affine import NiftiHeader, affine_of
from medseg.types import Affine, Shape
from medseg.volume import Volume

_HEADER_SIZES = (348, 540)
_MAGIC = (b"n+", b"ni")
_ANALYZE = (
    "an Analyze 7.5 header, which says no orientation: the first axis is taken as "
    "right to left, the second as back to front, the third as feet to head, as SPM "
    "does; check the sides, or convert the scan from its source"
)


@dataclass(frozen=True)
class NiftiLayout:
    """What a NIfTI header says about the array: shape, channels, affine."""

    shape: Shape
    num_channels: int
    affine: Affine


def read_nifti(path: Path, *, allow_shear: bool = False) -> Volume:
    """The volume of a NIfTI file; the fourth (or fifth) axis becomes channels.

    Integers stay integers unless the header scales them; scaled values are float32,
    or float64 where the stored integers need it.

    Raises:
        InputError: The file is missing, damaged, not NIfTI, or its geometry is
            unusable; the message says which.
    """
    path = _header_file(path)
    with open_file(path) as stream:
        header, source, size = _read_header(stream, path)
        layout = _layout(header, path, allow_shear=allow_shear)
        dtype = _stored_dtype(header, path)
        count = int(np.prod(layout.shape)) * layout.num_channels * dtype.itemsize
        pair = _image_of_pair(header, path)
        if pair is not None:
            raw = _read_pair(pair, header, count)
        else:
            source.read(max(int(header["vox_offset"]) - size, 0))
            raw = source.read(count)
            source.finish()
    voxels = _arrange(raw, dtype, layout)
    return Volume(_scaled(voxels, header), layout.affine)


def volume_of_nifti(image: Any, *, name: Path, allow_shear: bool = False) -> Volume:
    """The volume of an image that nibabel holds, as `read_nifti` of its file.

    Args:
        image: Of any of nibabel's kinds with an affine; a fourth axis is channels.
        name: What messages call it.
        allow_shear: Whether leaning axes are taken as they are.

    Raises:
        InputError: Its voxels or its geometry are unusable.
    """
    header = image.header
    is_nifti = hasattr(header, "get_sform") and "magic" in header.keys()  # noqa: SIM118
    if is_nifti and np.allclose(header.get_best_affine(), image.affine, atol=1e-5):
        layout = _layout(header, name, allow_shear=allow_shear)
    else:  # another format, or an affine that was changed in memory
        affine = np.asarray(image.affine, dtype=np.float64)
        affine = settle_affine(affine, source=name, allow_shear=allow_shear)
        shape, num_channels = _split_axes(image.shape, name)
        layout = NiftiLayout(shape, num_channels, affine)
    array = np.asanyarray(image.dataobj)
    if array.dtype.names is not None:  # RGB or RGBA
        colours = [array[part].reshape(layout.shape) for part in array.dtype.names]
        return Volume(np.stack(colours[:3]), layout.affine)
    if array.dtype.kind not in "iuf":
        raise UnreadableFileError(
            f"{name}: voxels of type {array.dtype}, expected real numbers"
        )
    stored = image.get_data_dtype()
    if array.dtype == np.float64 and stored.itemsize <= 2:  # scaled, as from a file
        array = array.astype(np.float32)
    voxels = array.reshape(*layout.shape, layout.num_channels)
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    return Volume(np.moveaxis(voxels, 3, 0), layout.affine)


def read_nifti_grid(path: Path, *, allow_shear: bool = False) -> Grid:
    """Shape and affine of a NIfTI file, from its header alone.

    Raises:
        InputError: As for `read_nifti`.
    """
    path = _header_file(path)
    with open_file(path) as stream:
        header, _, _ = _read_header(stream, path)
    layout = _layout(header, path, allow_shear=allow_shear)
    return Grid(layout.shape, layout.affine)


def read_nifti_header(path: Path) -> NiftiHeader:
    """The header of a NIfTI file, as nibabel sees it.

    Raises:
        InputError: The file is missing, damaged or not NIfTI.
    """
    path = _header_file(path)
    with open_file(path) as stream:
        return _read_header(stream, path)[0]


def _header_file(path: Path) -> Path:
    """The .hdr beside an .img, where there is one; else the file itself."""
    head, found, tail = path.name.lower().rpartition(".img")
    header = path.with_name(f"{path.name[: len(head)]}.hdr{tail}")
    return header if found and header.exists() else path


def _read_header(stream: Any, path: Path) -> tuple[NiftiHeader, ByteSource, int]:
    """The header, the rest of the bytes, and how many bytes were read."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    source = ByteSource(stream, path)
    block = source.read(_HEADER_SIZES[0]).tobytes()
    size = next((s for s in _HEADER_SIZES if _starts_with(block, s)), 0)
    if not size:
        raise UnreadableFileError(
            f"{path}: not a NIfTI file: its header does not begin with 348 or 540"
        )
    kind: Any = Nifti1Header if size == _HEADER_SIZES[0] else Nifti2Header
    if size == _HEADER_SIZES[0] and block[344:346] not in _MAGIC:
        kind = _analyze_header(path)
    block += source.read(size - len(block)).tobytes()
    return kind(block, check=False), source, size


def _analyze_header(path: Path) -> Any:
    """SPM's kind of Analyze header, for a pair that has no magic of NIfTI."""
    from nibabel.spm99analyze import Spm99AnalyzeHeader

    if not _in_pair(path):
        raise UnreadableFileError(
            f"{path}: not a NIfTI file: its header has no magic (n+1), as Analyze 7.5 "
            "has none, whose files end in .hdr and .img"
        )
    return Spm99AnalyzeHeader


def _is_analyze(header: NiftiHeader) -> bool:
    return "magic" not in header.keys()  # noqa: SIM118 - a header is no dictionary


def _in_pair(path: Path) -> bool:
    return ".hdr" in path.name.lower() or ".img" in path.name.lower()


def _starts_with(block: bytes, number: int) -> bool:
    return block[:4] in (number.to_bytes(4, "little"), number.to_bytes(4, "big"))


def _layout(header: NiftiHeader, path: Path, *, allow_shear: bool) -> NiftiLayout:
    shape, num_channels = _shape_of(header, path)
    if _is_analyze(header):
        warn_geometry(path, _ANALYZE, guessed=True)
        header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])  # SPM marks flips so
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    else:
        affine = affine_of(header, shape, path)
    affine = settle_affine(_as_sform(affine), source=path, allow_shear=allow_shear)
    return NiftiLayout(shape, num_channels, _as_sform(affine))


def _shape_of(header: NiftiHeader, path: Path) -> tuple[Shape, int]:
    """Spatial shape, and the number of channels held by axis four or five."""
    rank = int(header["dim"][0])
    dims = [int(n) for n in header["dim"][1 : max(rank, 0) + 1]]
    if not 2 <= rank <= 7 or min(dims) < 1:
        raise UnreadableFileError(
            f"{path}: dimensions {dims} in the header, expected 2 to 5 axes of at "
            f"least 1 voxel{f'; {ONE_AXIS}' if rank == 1 else ''}"
        )
    return _split_axes(dims, path)


def _split_axes(dims: Sequence[int], path: Path) -> tuple[Shape, int]:
    """The three axes of space, and the length of the one of channels."""
    i, j, k, *rest = [*dims, *[1] * (7 - len(dims))]
    if sum(n > 1 for n in rest) > 1:
        raise GeometryError(
            f"{path}: {len(dims)} axes {tuple(dims)}, expected three of space and "
            "at most one of channels; split it into one file per time point"
        )
    return (i, j, k), max(rest)


def _as_sform(affine: Affine) -> Affine:
    """The affine in float32, as a file holds it: writing what was read is exact."""
    return np.asarray(affine.astype(np.float32), dtype=np.float64)


def _stored_dtype(header: NiftiHeader, path: Path) -> np.dtype:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype: np.dtype = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError) as error:
        raise UnreadableFileError(
            f"{path}: unknown voxel type {int(header['datatype'])} in the header"
        ) from error
    if dtype.kind == "c" or dtype.itemsize == 0 or dtype.name in {"float128", "void"}:
        raise UnreadableFileError(
            f"{path}: voxels of type {dtype.name}, expected real numbers"
        )
    return dtype


def _image_of_pair(header: NiftiHeader, path: Path) -> Path | None:
    """The .img beside a .hdr; None for a file that holds its own voxels."""
    if not _is_analyze(header) and bytes(header["magic"]).rstrip(b"\0")[:2] == b"n+":
        return None
    for suffix in (".hdr", ".img"):
        head, found, tail = path.name.lower().rpartition(suffix)
        if found:
            return path.with_name(path.name[: len(head)] + ".img" + tail)
    raise UnreadableFileError(
        f"{path}: the header says that the voxels lie in a separate .img file, "
        "expected a single .nii file"
    )


def _read_pair(image: Path, header: NiftiHeader, count: int) -> np.ndarray:
    with open_file(image) as stream:
        source = ByteSource(stream, image)
        source.read(max(int(header["vox_offset"]), 0))
        return source.read(count)


def _arrange(raw: np.ndarray, dtype: np.dtype, layout: NiftiLayout) -> np.ndarray:
    """Bytes as (C, I, J, K) in the machine's byte order, without copying."""
    if dtype.names is not None:  # RGB or RGBA, one structure of bytes per voxel
        packed = raw.reshape(len(dtype.names), *layout.shape, order="F")
        return packed[:3]
    voxels = raw.view(dtype).reshape(*layout.shape, layout.num_channels, order="F")
    native = dtype.newbyteorder("=")
    return np.moveaxis(voxels.astype(native, copy=False), 3, 0)


def _scaled(voxels: np.ndarray, header: NiftiHeader) -> np.ndarray:
    """Voxels times scl_slope plus scl_inter, where the header sets them."""
    slope = float(header["scl_slope"])
    inter = 0.0 if _is_analyze(header) else float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0 or header.get_data_dtype().names:
        return voxels
    inter = inter if np.isfinite(inter) else 0.0
    if (slope, inter) == (1.0, 0.0):
        return voxels
    small = voxels.dtype.itemsize <= 2 or voxels.dtype == np.float32
    result = np.empty_like(voxels, dtype=np.float32 if small else np.float64)
    for k in range(voxels.shape[-1]):  # plane by plane: float64 for one plane alone
        result[..., k] = voxels[..., k] * slope + inter
    return result
