"""Pixels of frames as one array of measured values.

Uncompressed pixels are copied from the file as they lie there; compressed ones go
through pydicom's decoders (GDCM, OpenJPEG, CharLS, RLE).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medseg.errors import UnreadableFileError
from medseg.io.bytestream import open_file, require_memory
from medseg.io.dicom.decoding import decoded
from medseg.io.dicom.frame import (
    BIG_ENDIAN,
    IMPLICIT,
    PIXEL_ELEMENTS,
    PLAIN_SYNTAXES,
    Frame,
    PixelLayout,
)


def stored_values(frames: Sequence[Frame]) -> np.ndarray:
    """Stored values of the frames, shape (n, rows, columns), an integer dtype.

    Raises:
        UnreadableFileError: Pixels are missing, too few, or cannot be decoded.
    """
    first = frames[0]
    dtype = np.result_type(*{_dtype(frame.pixels) for frame in frames})
    count = len(frames) * first.rows * first.columns
    require_memory(2 * count * dtype.itemsize, first.path)
    values = np.empty((len(frames), first.rows, first.columns), dtype=dtype)
    if all(_lies_plain(frame, dtype) for frame in frames):
        for plane, frame in zip(values, frames, strict=True):
            _read_into(plane, frame)
        values = _all_used_bits(values, frames)
    else:
        _fill(values, frames)
    for plane, frame in zip(values, frames, strict=True):
        if frame.is_turned:
            plane[:] = plane[::-1, ::-1].copy()
    return values


def _fill(values: np.ndarray, frames: Sequence[Frame]) -> None:
    """Pixels of frames that share files, are compressed or of another byte order."""
    opened: tuple[Path, np.ndarray] | None = None
    for number, frame in enumerate(frames):
        if opened is None or opened[0] != frame.path:
            opened = (frame.path, _file_values(frame.pixels, frame.path))
        row, column = frame.tile or (0, 0)
        values[number] = opened[1][
            frame.index, row : row + frame.rows, column : column + frame.columns
        ]


def _all_used_bits(values: np.ndarray, frames: Sequence[Frame]) -> np.ndarray:
    """Planes without unused bits; together where all files store alike."""
    layouts = {
        (f.pixels.bits_stored, f.pixels.high_bit, f.pixels.is_signed) for f in frames
    }
    if len(layouts) == 1:
        return _used_bits(values, frames[0].pixels)
    for plane, frame in zip(values, frames, strict=True):
        plane[:] = _used_bits(plane, frame.pixels)
    return values


def measured_values(frames: Sequence[Frame], stored: np.ndarray) -> np.ndarray:
    """Stored values with each frame's rescale applied, shape (n, rows, columns).

    They stay integers where all slopes and intercepts are whole numbers, in the
    smallest of the stored type, int16 and int32 that holds them; else float32.
    """
    rescales = {(frame.slope, frame.intercept) for frame in frames}
    if rescales == {(1.0, 0.0)}:
        return stored
    slopes = np.asarray([frame.slope for frame in frames])[:, None, None]
    intercepts = np.asarray([frame.intercept for frame in frames])[:, None, None]
    whole = all(float(s).is_integer() and float(c).is_integer() for s, c in rescales)
    ends = np.asarray([float(stored.min()), float(stored.max())])
    reach = np.abs(ends).max() * np.abs(slopes).max() + np.abs(intercepts).max()
    if whole and reach < 2**31:
        dtype = np.int16 if reach < 2**15 else np.int32
        values: np.ndarray = stored.astype(dtype)
        if (slopes != 1).any():
            np.multiply(values, slopes.astype(dtype), out=values)
        np.add(values, intercepts.astype(dtype), out=values)
        return values
    result = np.empty(stored.shape, dtype=np.float32)
    for number, frame in enumerate(frames):
        result[number] = stored[number] * frame.slope + frame.intercept
    return result


def padded_pixels(frames: Sequence[Frame], stored: np.ndarray) -> np.ndarray | None:
    """Where the header says that nothing was measured; None where it never does.

    The padding value and range are stored values, before the rescale (PS3.3
    C.7.5.1.1.2).
    """
    if all(frame.pixels.padding is None for frame in frames):
        return None
    mask = np.zeros(stored.shape, dtype=np.bool_)
    for number, frame in enumerate(frames):
        if frame.pixels.padding is None:
            continue
        ends = (frame.pixels.padding, frame.pixels.padding_limit)
        low = min(end for end in ends if end is not None)
        high = max(end for end in ends if end is not None)
        mask[number] = (stored[number] >= low) & (stored[number] <= high)
    return mask if mask.any() else None


def inverted(frames: Sequence[Frame], stored: np.ndarray) -> np.ndarray:
    """Stored values mirrored in their range, for MONOCHROME1 pictures."""
    layout = frames[0].pixels
    low = -(1 << (layout.bits_stored - 1)) if layout.is_signed else 0
    high = low + (1 << layout.bits_stored) - 1
    return (np.int64(high + low) - stored).astype(stored.dtype)


def _lies_plain(frame: Frame, dtype: np.dtype) -> bool:
    """Whether a file holds this frame alone, in the machine's own form."""
    return (
        frame.tile is None
        and frame.pixels.num_frames == 1
        and frame.pixels.syntax in PLAIN_SYNTAXES
        and frame.pixels.syntax != BIG_ENDIAN
        and _dtype(frame.pixels) == dtype
        and sys.byteorder == "little"
    )


def _read_into(plane: np.ndarray, frame: Frame) -> None:
    """Copies a frame's pixels from its file into a contiguous plane."""
    with open_file(frame.path) as stream:
        _seek_pixels(stream, frame.pixels, frame.path)
        count = stream.readinto(plane.data.cast("B"))  # type: ignore[attr-defined]
    if count < plane.nbytes:
        raise UnreadableFileError(
            f"{frame.path}: {count} bytes of pixels found, expected {plane.nbytes}; "
            "the file is truncated"
        )


def _seek_pixels(stream: BinaryIO, layout: PixelLayout, path: Path) -> None:
    """Moves to the first pixel's byte."""
    stream.seek(layout.offset)
    head = stream.read(8 if layout.syntax == IMPLICIT else 12)
    if head[:4] not in PIXEL_ELEMENTS:
        raise UnreadableFileError(f"{path}: the file holds no pixel data")


def _dtype(layout: PixelLayout) -> np.dtype:
    kind = "i" if layout.is_signed else "u"
    return np.dtype(f"{kind}{layout.bits_allocated // 8}")


def _file_values(layout: PixelLayout, path: Path) -> np.ndarray:
    """All frames of a file, shape (frames, rows, columns)."""
    count = layout.num_frames * layout.rows * layout.columns
    if count < 1:
        raise UnreadableFileError(
            f"{path}: {layout.num_frames} frames of {layout.rows} × {layout.columns} "
            "pixels, expected at least one pixel"
        )
    if layout.syntax in PLAIN_SYNTAXES:
        values = _plain_values(layout, path, count)
    else:
        values = _decoded_values(layout, path, count)
    return _used_bits(values, layout)


def _plain_values(layout: PixelLayout, path: Path, count: int) -> np.ndarray:
    dtype = _dtype(layout)
    stored = dtype.newbyteorder(">" if layout.syntax == BIG_ENDIAN else "<")
    with open_file(path) as stream:
        _seek_pixels(stream, layout, path)
        values = np.fromfile(stream, dtype=stored, count=count)
    if len(values) < count:
        raise UnreadableFileError(
            f"{path}: {len(values)} pixels found, expected {layout.num_frames} × "
            f"{layout.rows} × {layout.columns}; the file is truncated"
        )
    shape = (layout.num_frames, layout.rows, layout.columns)
    return values.astype(dtype, copy=False).reshape(shape)


def _decoded_values(layout: PixelLayout, path: Path, count: int) -> np.ndarray:
    """Decompressed pixels; whatever a decoder raises is one line here."""
    require_memory(2 * count * layout.bits_allocated // 8, path)
    what = f"pixels compressed as {_syntax_name(layout.syntax)}"
    values = decoded(path, what=what)
    if values.size != count:
        raise UnreadableFileError(
            f"{path}: {values.size} pixels decoded, expected {count}"
        )
    return values.reshape(layout.num_frames, layout.rows, layout.columns)


def _used_bits(values: np.ndarray, layout: PixelLayout) -> np.ndarray:
    """Values without the bits that are no part of them, which may hold overlays."""
    above = layout.bits_allocated - layout.bits_stored
    below = layout.high_bit + 1 - layout.bits_stored
    if not 0 < above < layout.bits_allocated:
        return values
    if 0 < below <= above and layout.syntax in PLAIN_SYNTAXES:
        if (values & np.array((1 << below) - 1, dtype=values.dtype)).any():
            return values  # stored from bit 0 on, and up to HighBit
        return _between(values, above - below, above)
    if not layout.is_signed and values.max() < 1 << layout.bits_stored:
        return values
    return _between(values, above, above)


def _between(values: np.ndarray, left: int, right: int) -> np.ndarray:
    """Values shifted to the left and back to the right, the sign kept."""
    up, down = (np.array(n, dtype=np.uint8) for n in (left, right))
    return np.asarray(np.right_shift(np.left_shift(values, up), down))


def _syntax_name(uid: str) -> str:
    from pydicom.uid import UID

    return str(UID(uid).name)
