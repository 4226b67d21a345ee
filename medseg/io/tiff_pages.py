"""The chain of pages of a TIFF, walked before a decoder follows it."""

import struct
from pathlib import Path
from typing import BinaryIO

from medseg.errors import UnreadableFileError

_FORMATS = {b"*": ("H", "I", 12), b"+": ("Q", "Q", 20)}
"""Type of the number of entries, type of a place and bytes of an entry, in a classic
TIFF and in a BigTIFF."""


def require_ending_chain(path: Path) -> None:
    """Refuses a TIFF whose pages point back to an earlier one.

    Each page names the place of the next; where a damaged file leads in a circle,
    decoders follow it for minutes.

    Raises:
        UnreadableFileError: The chain of pages does not end.
    """
    seen: set[int] = set()
    with path.open("rb") as stream:
        kind = stream.read(8)
        order = {b"II": "<", b"MM": ">"}.get(kind[:2], "=")
        formats = _FORMATS.get(kind[2:4].strip(b"\0"))
        if formats is None:
            return  # the decoder says what it is
        count, place, entry_bytes = formats
        stream.seek(8 if place == "Q" else 4)
        where = _number(stream, order + place)
        while where:
            if where in seen:
                raise UnreadableFileError(
                    f"{path}: its pages point to one another in a circle (at byte "
                    f"{where}); the file is damaged, copy or save it again"
                )
            seen.add(where)
            stream.seek(where)
            entries = _number(stream, order + count)
            stream.seek(entries * entry_bytes, 1)
            where = _number(stream, order + place)


def _number(stream: BinaryIO, kind: str) -> int:
    """The number that comes next; 0, the end of the chain, at the end of the file."""
    data = stream.read(struct.calcsize(kind))
    if len(data) < struct.calcsize(kind):
        return 0
    return int(struct.unpack(kind, data)[0])
