"""Decompressing pixels; whatever a decoder does with damaged bytes is one error.

Decoders take the size from the stream and allocate it, whatever Rows and Columns say.
JPEG and JPEG-LS write it in a frame header (ITU-T T.81, B.2.2; T.87, C.2.2), JPEG 2000
in the SIZ marker (T.800, A.5.1).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medseg.errors import UnreadableFileError
from medseg.io.dicom.elements import DicomDataset, quiet

_SIZ = b"\xff\x4f\xff\x51"
_SEARCHED = 4096
"""Bytes in which a JPEG 2000 stream begins, were it wrapped in a file of its own."""
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length."""
_SCAN, _END = 0xDA, 0xD9


def claimed_sizes(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Rows, columns and components of each header in a compressed frame.

    Nothing comes of streams that are neither JPEG, JPEG-LS nor JPEG 2000, nor of
    headers that are cut short; rows that follow later count as 0.
    """
    start = stream.find(_SIZ, 0, _SEARCHED)
    if start >= 0:
        yield from _of_jpeg_2000(stream[start + 4 : start + 42])
    elif stream[:2] == b"\xff\xd8":
        yield from _of_jpeg(stream)


def _of_jpeg_2000(block: bytes) -> Iterator[tuple[int, int, int]]:
    if len(block) < 38:
        return
    right, bottom, left, top = struct.unpack_from(">4I", block, 4)
    (components,) = struct.unpack_from(">H", block, 36)
    yield bottom - top, right - left, components


def _of_jpeg(stream: bytes) -> Iterator[tuple[int, int, int]]:
    place = 2
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # fill bytes
            place += 1
            continue
        if marker in (_SCAN, _END):
            return
        if marker in _ALONE:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", stream, place + 2)
        if marker in _FRAME_MARKERS and place + 10 <= len(stream):
            rows, columns = struct.unpack_from(">HH", stream, place + 5)
            yield rows, columns, stream[place + 9]
        place += 2 + length


_PANIC = "PanicException"
"""What decoders in Rust raise where they stumble; it is no `Exception`."""


def decoded(path: Path, *, what: str) -> np.ndarray:
    """The pixels of a DICOM file as they are stored, without rescaling.

    Args:
        path: The file.
        what: Names the pixels in the error message.

    Raises:
        UnreadableFileError: They cannot be decoded, or are more than the header says.
    """
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    try:
        with quiet():
            dataset = dcmread(path, force=True)
            _require_sizes(dataset, path)
            return np.asarray(pixel_array(dataset, raw=True))
    except UnreadableFileError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UnreadableFileError(
            f"{path}: {what} cannot be decoded ({reason})"
        ) from error


def _require_sizes(dataset: DicomDataset, path: Path) -> None:
    """Refuses frames whose stream claims another size than the header, undecoded.

    Raises:
        UnreadableFileError: One does, or there are fewer frames than the header says.
    """
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    from pydicom.encaps import generate_frames

    count = int(dataset.get("NumberOfFrames") or 1)
    expected = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    found = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        found += 1
        for rows, columns, components in claimed_sizes(frame):
            if (rows or expected[0], columns) != expected or components != samples:
                raise UnreadableFileError(
                    f"{path}: frame {found} is compressed as {rows} × {columns} pixels "
                    f"of {components} values, the header says {expected[0]} × "
                    f"{expected[1]} of {samples}; export it again"
                )
    if found < count:
        raise UnreadableFileError(
            f"{path}: {found} frames found, the header says {count}; export it again"
        )
