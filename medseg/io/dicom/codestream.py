"""The size that a compressed frame claims, read from its first bytes.

Decoders take the size from the stream and allocate it, whatever Rows and Columns say.
JPEG and JPEG-LS write it in a frame header (ITU-T T.81, B.2.2; T.87, C.2.2), JPEG 2000
in the SIZ marker (T.800, A.5.1).
"""

import struct
from collections.abc import Iterator

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
