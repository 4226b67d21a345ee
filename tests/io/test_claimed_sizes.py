"""Files that claim more than they hold are refused before they are unpacked."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import UnreadableFileError
from medseg.io import read_volume
from medseg.io.dicom.decoding import claimed_sizes

PIXELS = (np.arange(64 * 48).reshape(48, 64) % 251).astype(np.uint8)


def packed(kind: str) -> bytes:
    if kind == "JPEG-LS":
        import jpeg_ls

        return bytes(jpeg_ls.encode_array(PIXELS))
    out = io.BytesIO()
    options = {"progressive": True} if kind == "progressive" else {}
    name = "JPEG2000" if kind.startswith("JPEG 2000") else "JPEG"
    if kind == "JPEG 2000 stream":
        options = {"no_jp2": True}
    Image.fromarray(PIXELS).save(out, name, **options)
    return out.getvalue()


KINDS = ("JPEG", "progressive", "JPEG-LS", "JPEG 2000", "JPEG 2000 stream")


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_read_from_the_stream(kind: str) -> None:
    assert list(claimed_sizes(packed(kind))) == [(48, 64, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_streams_cut_short_claim_nothing_wrong(kind: str) -> None:
    stream = packed(kind)
    for length in range(0, min(len(stream), 700), 3):
        assert set(claimed_sizes(stream[:length])) <= {(48, 64, 1)}


def test_what_is_no_such_stream_claims_nothing() -> None:
    for stream in (b"", b"\xff\xd8", b"\xff\xd8\xff", bytes(100), b"\xff" * 100):
        assert list(claimed_sizes(stream)) == []


def tiff_of_one_tile(path: Path, side: int, tile: int = 4096) -> None:
    """All tiles are the same compressed one."""
    count = (-(-side // tile)) ** 2
    data = zlib.compress(bytes(tile * tile), 9)
    offsets, counts = 8 + len(data), 8 + len(data) + 4 * count
    entries = [
        (256, 1, side), (257, 1, side), (258, 1, 8), (259, 1, 8), (262, 1, 1),
        (277, 1, 1), (322, 1, tile), (323, 1, tile), (324, count, offsets),
        (325, count, counts),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, number, value in entries:
        directory += struct.pack("<HHII", tag, 4, number, value)
    path.write_bytes(
        b"II*\0"
        + struct.pack("<I", counts + 4 * count)
        + data
        + struct.pack(f"<{count}I", *[8] * count)
        + struct.pack(f"<{count}I", *[len(data)] * count)
        + directory
        + struct.pack("<I", 0)
    )


def test_a_tiff_holds_no_more_than_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    tiff_of_one_tile(path, 141_000)
    with pytest.raises(UnreadableFileError, match=r"19.9 GB, more than \d+ bytes"):
        read_volume(path)
