"""Pictures: i is the column, j the row; depth and colours survive."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from medseg.errors import GeometryError, InputError, OutputError
from medseg.io import (
    read_grid,
    read_label_map,
    read_volume,
    write_label_map,
    write_volume,
)
from medseg.volume import LabelMap, Volume

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)  # 2 rows, 3 columns


def png(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_i_is_the_column_j_the_row(tmp_path: Path) -> None:
    volume = read_volume(png(tmp_path / "a.png", GREY))
    assert volume.voxels.shape == (1, 3, 2, 1)
    assert volume.voxels[0, 2, 0, 0] == GREY[0, 2]
    assert read_grid(tmp_path / "a.png").shape == (3, 2, 1)
    np.testing.assert_array_equal(volume.affine, np.eye(4))


def test_colours_become_channels_and_constant_alpha_goes(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 255, (4, 5, 4), dtype=np.uint8)
    assert read_volume(png(tmp_path / "v.png", rgba)).num_channels == 4
    rgba[..., 3] = 255
    volume = read_volume(png(tmp_path / "c.png", rgba))
    np.testing.assert_array_equal(
        volume.voxels[..., 0], rgba[..., :3].transpose(2, 1, 0)
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_png_keeps_its_depth(tmp_path: Path, dtype: type) -> None:
    labels = np.array([[0, 1, 2], [200, 255, 7]], dtype=dtype)[..., None]
    write_label_map(tmp_path / "a.png", LabelMap(labels, np.eye(4)))
    back = read_label_map(tmp_path / "a.png")
    np.testing.assert_array_equal(back.voxels, labels)
    assert back.voxels.dtype == dtype


def test_palette_gives_indices_as_labels_and_colours_as_image(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY, mode="P")
    picture.putpalette([c for n in range(6) for c in (n, 2 * n, 3 * n)])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_label_map(tmp_path / "a.png").voxels[..., 0], GREY.T
    )
    assert read_volume(tmp_path / "a.png").num_channels == 3


def test_grey_mask_saved_as_rgb_is_a_label_map(tmp_path: Path) -> None:
    png(tmp_path / "a.png", np.repeat(GREY[..., None], 3, axis=2))
    np.testing.assert_array_equal(
        read_label_map(tmp_path / "a.png").voxels[..., 0], GREY.T
    )


@pytest.mark.parametrize(
    "shape", [(1, 4, 3, 1), (1, 4, 3, 5), (3, 4, 3, 1), (2, 4, 3, 5)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_keeps_pages_channels_and_type(
    tmp_path: Path, shape: tuple[int, int, int, int], dtype: type
) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, shape).astype(dtype)
    write_volume(tmp_path / "a.tif", Volume(voxels, np.eye(4)))
    back = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.voxels, voxels)
    assert back.voxels.dtype == dtype
    assert read_grid(tmp_path / "a.tif").shape == shape[1:]


def test_foreign_tiff_pages_are_k(tmp_path: Path) -> None:
    pages = np.arange(210, dtype=np.uint16).reshape(7, 6, 5)
    tifffile.imwrite(tmp_path / "a.tif", pages)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").voxels[0], pages.T)


def test_lzw_tiff_is_read(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(
        read_volume(tmp_path / "a.tif").voxels[0, ..., 0], GREY.T
    )


def test_tiff_of_time_and_depth_is_refused(tmp_path: Path) -> None:
    array = np.zeros((2, 3, 4, 5), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(GeometryError, match="at most one of pages"):
        read_volume(tmp_path / "a.tif")


def test_png_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="one page of 1, 3 or 4"):
        write_volume(
            tmp_path / "a.png", Volume(np.zeros((1, 2, 2, 2), np.uint8), np.eye(4))
        )
    with pytest.raises(OutputError, match="whole numbers from 0 to 65535"):
        write_volume(tmp_path / "a.png", Volume(np.full((1, 2, 2, 1), -1), np.eye(4)))
    assert not list(tmp_path.iterdir())


def test_damage_is_one_clear_line(tmp_path: Path) -> None:
    data = png(
        tmp_path / "a.png",
        np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8),
    ).read_bytes()
    for name, content in {
        "cut.png": data[:900],
        "text.png": b"x" * 99,
        "bad.tif": b"II*\0" * 9,
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)
