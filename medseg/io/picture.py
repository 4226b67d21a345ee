"""PNG, TIFF, JPEG and BMP pictures as volumes with a single k (TIFF pages: k).

Index order: i is the column (x, to the right), j the row (y, downwards), k the page,
the order that DICOM and ITK use. A picture knows no place in a body: the affine holds
the voxel size where a TIFF says one, else it is the identity, so that lengths are in
pixels.
"""

import logging
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medseg.errors import GeometryError, OutputError, UnreadableFileError
from medseg.files import atomic_write
from medseg.geometry import Grid
from medseg.io.bytestream import open_file, require_memory
from medseg.io.tiff_header import require_ending_chain, size_note, tiff_affine
from medseg.types import Affine
from medseg.volume import Volume

T = TypeVar("T")

_TIFF = (".tif", ".tiff")
_LOSSLESS = (".png", *_TIFF)
_COLOUR_AXES = "SC"
_MOST_PACKED = {1: 1, 5: 4096, 8: 1032, 32946: 1032, 32773: 128}
"""How many times smaller packed TIFF pixels may be: none, LZW, deflate, PackBits."""
_BY_OTHERS = 20_000
_ALWAYS_PLAUSIBLE = 1 << 28


def read_picture(path: Path, *, as_labels: bool = False) -> Volume:
    """The picture as a volume; colours become channels, a constant alpha is dropped.

    Args:
        path: PNG, TIFF, JPEG or BMP.
        as_labels: Whether the numbers of a palette picture are wanted, as label maps
            hold them, instead of the palette's colours.

    Raises:
        InputError: The file is missing, damaged, or of a kind that would lose
            precision.
    """
    with open_file(path) as stream:
        signature = stream.read(32)
    _refuse_deep_colour(signature, path)
    affine = np.eye(4)
    if path.name.lower().endswith(_TIFF):
        require_ending_chain(path)
        pages = _guarded(path, lambda: _read_tiff(path))
        affine = _guarded(path, lambda: tiff_affine(path))
    else:
        pages = _guarded(path, lambda: _read_pillow(path, as_labels=as_labels))
    if not pages.size:
        raise UnreadableFileError(f"{path}: the picture has no pixels")
    voxels = _without_constant_alpha(pages).transpose(3, 2, 1, 0)
    return Volume(voxels, affine)


def read_picture_grid(path: Path) -> Grid:
    """Shape and voxel size of a picture, from its header alone.

    Raises:
        InputError: As for `read_picture`.
    """
    with open_file(path):
        pass
    if path.name.lower().endswith(_TIFF):
        require_ending_chain(path)
        k, j, i, _ = _guarded(path, lambda: _tiff_shape(path))
        return Grid((i, j, k), _guarded(path, lambda: tiff_affine(path)))
    i, j = _guarded(path, lambda: _pillow_size(path))
    return Grid((i, j, 1), np.eye(4))


def write_picture(path: Path, voxels: np.ndarray, affine: Affine | None = None) -> None:
    """Writes a picture without loss: PNG of 8 or 16 bits, or TIFF of any type.

    A TIFF of one page and one channel is an array of rows and columns, as other
    programs write and expect it.

    Args:
        path: Where to, .png or .tif.
        voxels: Shape (I, J, K) or (C, I, J, K); PNG holds one k and 1, 3 or 4
            channels.
        affine: Its voxel size is kept in a TIFF; where it is the identity, nothing.

    Raises:
        OutputError: The format cannot hold the voxels, or cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _LOSSLESS:
        raise OutputError(f"{path}: {suffix} loses information; name it .png or .tif")
    channels = voxels if voxels.ndim == 4 else voxels[None]
    pages = np.ascontiguousarray(channels.transpose(3, 2, 1, 0))
    with atomic_write(path) as temporary:
        if suffix == ".png":
            _write_png(temporary, _for_png(pages, path))
        else:
            _write_tiff(temporary, pages, affine)


def _refuse_deep_colour(signature: bytes, path: Path) -> None:
    """Refuses PNG colours of 16 bits, of which the decoder would keep 8."""
    is_png = signature.startswith(b"\x89PNG")
    if is_png and len(signature) > 25 and signature[24] == 16 and signature[25] != 0:
        raise UnreadableFileError(
            f"{path}: PNG with 16-bit colours, which would be cut to 8 bits; save it "
            "as TIFF"
        )


def _guarded(path: Path, read: Callable[[], T]) -> T:
    """The result of a decoder, whose many kinds of errors become one."""
    from PIL import Image, UnidentifiedImageError

    _hush_tifffile()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return read()
    except (UnreadableFileError, GeometryError):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableFileError(f"{path}: not a picture, or damaged") from error
    except Image.DecompressionBombError as error:
        raise UnreadableFileError(f"{path}: more pixels than are accepted") from error
    except Exception as error:  # decoders raise whatever their parsing stumbles on
        raise UnreadableFileError(
            f"{path}: the picture is damaged or truncated ({error!s:.80})"
        ) from error


@cache
def _hush_tifffile() -> None:
    """What tifffile logs about a damaged file is raised as well; once is enough."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())


def _pillow_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


def _read_pillow(path: Path, *, as_labels: bool) -> np.ndarray:
    """All pages, shape (pages, rows, columns, channels)."""
    from PIL import Image, ImageSequence

    with Image.open(path) as picture:
        count = getattr(picture, "n_frames", 1)
        width, height = picture.size
        require_memory(width * height * count * 4, path)
        pages = [
            _page(page, as_labels=as_labels) for page in ImageSequence.Iterator(picture)
        ]
    if len({page.shape for page in pages}) > 1:
        raise GeometryError(f"{path}: its pages differ in size, expected equal ones")
    return np.stack(pages)


def _page(picture: Any, *, as_labels: bool) -> np.ndarray:
    """One page, shape (rows, columns, channels)."""
    if picture.mode in {"P", "PA"} and not as_labels:
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode in {"CMYK", "YCbCr", "LAB", "HSV"}:
        picture = picture.convert("RGB")
    array = np.array(picture)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if picture.mode == "I" and picture.format == "PNG":  # older Pillow: 16-bit grey
        array = array.astype(np.uint16)
    return array if array.ndim == 3 else array[..., None]


def _read_tiff(path: Path) -> np.ndarray:
    """All pages of a TIFF's first series, (pages, rows, columns, channels)."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        shape = _tiff_shape(path)
        size = int(np.prod(shape)) * series.dtype.itemsize
        _require_plausible(size, int(series.keyframe.compression), path)
        require_memory(size, path)
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _read_pillow(path, as_labels=True)
        axes = series.axes
    if array.dtype.kind not in "buif":
        raise UnreadableFileError(f"{path}: pixels of type {array.dtype}")
    order = sorted(range(array.ndim), key=lambda axis: _tiff_rank(axes[axis]))
    array = array.transpose(order).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _require_plausible(size: int, compression: int, path: Path) -> None:
    """Refuses, before anything is unpacked, more pixels than the file can hold.

    Many tiles may point to the same bytes, so that a few kilobytes claim gigabytes.

    Raises:
        UnreadableFileError: It is too small for what it claims.
    """
    most = path.stat().st_size * _MOST_PACKED.get(compression, _BY_OTHERS)
    if size > max(most, _ALWAYS_PLAUSIBLE):
        raise UnreadableFileError(
            f"{path}: its header asks for {size / 1e9:.1f} GB, more than "
            f"{path.stat().st_size} bytes can hold; the file is damaged"
        )


def _tiff_shape(path: Path) -> tuple[int, int, int, int]:
    """(pages, rows, columns, channels) of a TIFF's first series."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        sizes = dict(zip(series.axes, series.shape, strict=True))
    pages = [n for axis, n in sizes.items() if axis not in "YX" + _COLOUR_AXES]
    colours = [n for axis, n in sizes.items() if axis in _COLOUR_AXES]
    for found in (pages, colours):
        if sum(n > 1 for n in found) > 1:
            raise GeometryError(
                f"{path}: axes {series.axes} of sizes {series.shape}, expected at "
                "most one of pages and one of channels"
            )
    return max([1, *pages]), sizes["Y"], sizes["X"], max([1, *colours])


def _tiff_rank(axis: str) -> int:
    """Where an axis goes: pages first, then rows, columns, channels."""
    if axis in _COLOUR_AXES:
        return 3
    return {"Y": 1, "X": 2}.get(axis, 0)


def _without_constant_alpha(pages: np.ndarray) -> np.ndarray:
    """Pages without the last of 2 or 4 channels where it never changes."""
    count = pages.shape[3]
    if count in (2, 4) and pages[..., -1].min() == pages[..., -1].max():
        return pages[..., : count - 1]
    return pages


def _for_png(pages: np.ndarray, path: Path) -> np.ndarray:
    """One page in a type that PNG holds, (rows, columns[, channels])."""
    if len(pages) != 1 or pages.shape[3] not in (1, 3, 4):
        raise OutputError(
            f"{path}: PNG holds one page of 1, 3 or 4 channels, found "
            f"{len(pages)} pages of {pages.shape[3]}; name it .tif or .nii.gz"
        )
    page = pages[0] if pages.shape[3] > 1 else pages[0, ..., 0]
    if page.dtype == np.uint8 or (page.dtype == np.uint16 and page.ndim == 2):
        return page
    deepest = np.iinfo(np.uint16 if page.ndim == 2 else np.uint8).max
    if page.dtype.kind not in "bui" or page.min() < 0 or page.max() > deepest:
        raise OutputError(
            f"{path}: PNG holds whole numbers from 0 to {deepest}, found "
            f"{page.dtype} from {page.min()} to {page.max()}; name it .tif or .nii.gz"
        )
    return page.astype(np.uint8 if page.max() <= 255 else np.uint16)


def _write_png(path: Path, page: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(page).save(path, format="PNG")


def _write_tiff(path: Path, pages: np.ndarray, affine: Affine | None) -> None:
    import tifffile

    is_colour = pages.shape[3] in (3, 4) and pages.dtype in (np.uint8, np.uint16)
    planes = pages if is_colour else pages.transpose(0, 3, 1, 2)
    axes = "ZYXS" if is_colour else "ZCYX"
    for axis in (axis for axis in "ZC" if axis in axes):
        place = axes.index(axis)
        if planes.shape[place] == 1:
            planes, axes = planes.squeeze(place), axes.replace(axis, "")
    metadata: dict[str, Any] = {"axes": axes, **size_note(affine)}
    tifffile.imwrite(
        path,
        planes,
        photometric="rgb" if is_colour else "minisblack",
        compression="zlib",
        metadata=metadata,
    )
