"""Boxes of a TIFF are the pixels of the whole picture, however it is stored."""

import numpy as np
import pytest
import tifffile

from medseg.errors import UnreadableFileError
from medseg.io import large_picture as module
from medseg.io import read_volume
from medseg.io.large_picture import LargePicture

GREY = np.random.default_rng(0).integers(0, 60_000, (70, 50), dtype=np.uint16)
COLOUR = np.random.default_rng(1).integers(0, 255, (70, 50, 3), dtype=np.uint8)
WAYS = [
    {"tile": (16, 32)},
    {"tile": (16, 32), "compression": "zlib"},
    {"rowsperstrip": 7},
    {"rowsperstrip": 7, "compression": "zlib"},
    {},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_box_is_part_of_the_picture(tmp_path, way, pixels):
    path = tmp_path / "a.tif"
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=kind, **way)
    whole = read_volume(path).voxels[..., 0]
    with LargePicture(path) as picture:
        assert (picture.num_channels, *picture.shape) == whole.shape
        for box in [(slice(0, 50), slice(0, 70)), (slice(13, 41), slice(30, 69))]:
            assert np.array_equal(picture.read(box), whole[(slice(None), *box)])


def test_planes_of_colours(tmp_path):
    path = tmp_path / "a.tif"
    planes = np.ascontiguousarray(COLOUR.transpose(2, 0, 1))
    tifffile.imwrite(
        path, planes, photometric="rgb", planarconfig="separate", tile=(16, 16)
    )
    with LargePicture(path) as picture:
        found = picture.read((slice(5, 45), slice(9, 60)))
    assert np.array_equal(found, planes.transpose(0, 2, 1)[:, 5:45, 9:60])


def test_few_parts_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, tile=(16, 16))
    monkeypatch.setattr(module, "CACHE_BYTES", 3 * 16 * 16 * 2)
    with LargePicture(path) as picture:
        picture.read((slice(0, 50), slice(0, 70)))
        assert len(picture._known) == 3


def test_one_large_strip_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, rowsperstrip=70, compression="zlib")
    monkeypatch.setattr(module, "LARGEST_PART", 1000)
    with pytest.raises(UnreadableFileError, match="save it as a tiled TIFF"):
        LargePicture(path)


def test_no_tiff_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"no picture")
    with pytest.raises(UnreadableFileError, match="not a TIFF"):
        LargePicture(tmp_path / "a.tif")


def test_damage_names_the_part(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, tile=(16, 16), compression="zlib")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[2]
    data[start : start + 8] = b"\0" * 8
    path.write_bytes(data)
    with LargePicture(path) as picture, pytest.raises(UnreadableFileError, match="2"):
        picture.read((slice(0, 50), slice(0, 70)))
