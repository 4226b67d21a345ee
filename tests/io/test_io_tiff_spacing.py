"""The voxel size of a TIFF, wherever it is written down."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from medseg.errors import GeometryError
from medseg.geometry import affine_from_spacing
from medseg.io import (
    read_grid,
    read_label_map,
    read_volume,
    write_label_map,
    write_volume,
)
from medseg.io.geometry_warning import recorded_geometry
from medseg.volume import LabelMap, Volume

PAGES = np.arange(30, dtype=np.uint16).reshape(2, 3, 5)  # z, y, x
RESOLUTION = (1 / 0.25, 1 / 0.5)


def imagej(path: Path, **metadata: object) -> Path:
    tifffile.imwrite(
        path,
        PAGES,
        imagej=True,
        resolution=RESOLUTION,
        metadata={"axes": "ZYX"} | metadata,
    )
    return path


def ome(path: Path, **metadata: object) -> Path:
    tifffile.imwrite(path, PAGES, ome=True, metadata={"axes": "ZYX"} | metadata)
    return path


def spacing(path: Path) -> tuple[float, ...]:
    volume = read_volume(path)
    assert volume.voxels.shape == (1, 5, 3, 2)
    assert not read_grid(path).mismatch(volume.grid)
    return volume.grid.spacing


@pytest.mark.parametrize(
    ("unit", "mm"), [("um", 1e-3), ("micron", 1e-3), ("mm", 1), ("\\u00b5m", 1e-3)]
)
def test_imagej(tmp_path, unit, mm):
    path = imagej(tmp_path / "a.tif", spacing=2.0, unit=unit)
    assert spacing(path) == pytest.approx(np.multiply(mm, (0.25, 0.5, 2.0)))


def test_imagej_in_pixels_says_nothing(tmp_path):
    assert spacing(imagej(tmp_path / "a.tif", spacing=2.0)) == (1, 1, 1)


def test_imagej_of_an_unknown_unit_is_said(tmp_path):
    path = imagej(tmp_path / "a.tif", spacing=2.0, unit="parsec")
    with recorded_geometry() as notes:
        assert read_volume(path).grid.spacing == (1, 1, 1)
    assert "'parsec' is unknown" in notes[0]


@pytest.mark.parametrize(("unit", "mm"), [("µm", 1e-3), ("nm", 1e-6), ("mm", 1)])
def test_ome(tmp_path, unit, mm):
    sizes = {"X": 0.25, "Y": 0.5, "Z": 2.0}
    metadata = {f"PhysicalSize{axis}": size for axis, size in sizes.items()}
    metadata |= {f"PhysicalSize{axis}Unit": unit for axis in sizes}
    found = spacing(ome(tmp_path / "a.ome.tif", **metadata))
    assert found == pytest.approx(np.multiply(mm, (0.25, 0.5, 2.0)))


def test_ome_without_sizes_says_nothing(tmp_path):
    assert spacing(ome(tmp_path / "a.ome.tif")) == (1, 1, 1)


@pytest.mark.parametrize("name", ["a.tif", "a_0000.tif"])
def test_nnunet_json_counts_first(tmp_path, name):
    path = imagej(tmp_path / name, spacing=9.0, unit="mm")
    (tmp_path / "a.json").write_text(json.dumps({"spacing": [2.0, 0.5, 0.25]}))
    assert spacing(path) == (0.25, 0.5, 2.0)


def test_a_sidecar_of_something_else_is_passed_over(tmp_path):
    path = imagej(tmp_path / "a.tif", spacing=2.0, unit="mm")
    (tmp_path / "a.json").write_text(json.dumps({"RepetitionTime": 2}))
    assert spacing(path) == (0.25, 0.5, 2.0)


def test_a_negative_size_is_refused(tmp_path):
    path = imagej(tmp_path / "a.tif")
    (tmp_path / "a.json").write_text(json.dumps({"spacing": [2.0, -0.5, 0.25]}))
    with pytest.raises(GeometryError, match="expected positive numbers"):
        read_volume(path)


def test_a_printers_resolution_says_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PAGES, resolution=(300, 300), resolutionunit=2)
    assert spacing(tmp_path / "a.tif") == (1, 1, 1)


def test_what_is_written_is_read_back(tmp_path):
    affine = affine_from_spacing((0.25, 0.5, 2.0))
    volume = Volume(PAGES.transpose(2, 1, 0)[None], affine)
    write_volume(tmp_path / "a.tif", volume)
    back = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.affine, affine)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)])
def test_label_maps_are_arrays_of_pages_rows_and_columns(tmp_path, shape):
    voxels = np.ones(shape, dtype=np.uint8).T
    voxels = voxels if voxels.ndim == 3 else voxels[..., None]
    write_label_map(tmp_path / "a.tif", LabelMap(voxels, np.eye(4)))
    assert tifffile.imread(tmp_path / "a.tif").shape == shape
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif").voxels, voxels)


def test_a_label_map_without_voxel_size_takes_the_images(tmp_path):
    grid = read_grid(imagej(tmp_path / "a.tif", spacing=2.0, unit="um"))
    tifffile.imwrite(tmp_path / "b.tif", PAGES.astype(np.uint8))
    found = read_label_map(tmp_path / "b.tif", grid=grid)
    assert found.grid.spacing == pytest.approx(grid.spacing)
