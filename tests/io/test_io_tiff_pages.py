"""Pages of a TIFF that lead in a circle are refused before a decoder follows them."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from medseg.errors import UnreadableFileError
from medseg.io.large_picture import LargePicture
from medseg.io.picture import read_picture, read_picture_grid
from medseg.io.tiff_header import require_ending_chain

KINDS = [(order, is_big) for order in "<>" for is_big in (False, True)]


def three_pages(path: Path, order: str, *, is_big: bool) -> None:
    pages = np.arange(3 * 6 * 5, dtype=np.uint8).reshape(3, 6, 5)
    with tifffile.TiffWriter(path, byteorder=order, bigtiff=is_big) as writer:
        for page in pages:
            writer.write(page, contiguous=False, metadata=None)


def lead_back(path: Path, order: str, *, page: int, is_big: bool) -> None:
    """Lets the last page point to another one, which may be itself."""
    with tifffile.TiffFile(path) as tiff:
        places = [found.offset for found in tiff.pages]
        tags = len(tiff.pages[-1].tags)
    head, entry, kind = (8, 20, "Q") if is_big else (2, 12, "I")
    data = bytearray(path.read_bytes())
    where = places[-1] + head + tags * entry
    struct.pack_into(f"{order}{kind}", data, where, places[page])
    path.write_bytes(data)


@pytest.mark.parametrize(("order", "is_big"), KINDS)
def test_a_chain_that_ends_is_read(tmp_path: Path, order: str, is_big: bool) -> None:
    path = tmp_path / "pages.tif"
    three_pages(path, order, is_big=is_big)
    require_ending_chain(path)
    assert read_picture(path).voxels.shape[-3:] == (5, 6, 3)


@pytest.mark.parametrize("page", [0, 1, 2])
@pytest.mark.parametrize(("order", "is_big"), KINDS)
def test_a_circle_is_refused(
    tmp_path: Path, order: str, is_big: bool, page: int
) -> None:
    path = tmp_path / "circle.tif"
    three_pages(path, order, is_big=is_big)
    lead_back(path, order, page=page, is_big=is_big)
    for read in (read_picture, read_picture_grid, LargePicture):
        with pytest.raises(UnreadableFileError, match=r"circle\.tif.* in a circle"):
            read(path)


@pytest.mark.parametrize("length", [0, 3, 4, 7, 8, 11, 40])
def test_a_cut_file_is_left_to_the_decoder(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.tif"
    three_pages(path, "<", is_big=False)
    path.write_bytes(path.read_bytes()[:length])
    require_ending_chain(path)
    with pytest.raises(UnreadableFileError, match=r"cut\.tif"):
        read_picture(path)
