"""Files for ImageJ, QuPath and napari, opened by their readers: the same label map."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from matplotlib.path import Path as Outline

from medseg.errors import SettingsError
from medseg.geometry import affine_from_spacing
from medseg.io import object_files, read_label_map
from medseg.io.object_files import ObjectFormat, parse_formats, write_objects
from medseg.volume import LabelMap

roifile = pytest.importorskip("roifile")


def cells(num_planes: int = 1) -> np.ndarray:
    """Cells that touch, hold another in a hole, are in parts, are single pixels."""
    labels = np.zeros((30, 24, num_planes), np.uint16)
    labels[2:12, 3:14] = 1
    labels[5:9, 6:11] = 0
    labels[7, 8] = 2
    labels[12:15, 3:14] = 3
    labels[20, 20] = labels[22:25, 1:4] = 300
    labels[29, 23] = 5
    labels[16:18, 16:18] = 6
    labels[18, 18] = 6  # by a corner
    if num_planes > 1:
        labels[..., 1] = np.roll(labels[..., 0], 1, axis=0)
    return labels


def fill(rings: list, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie inside an odd number of rings, by matplotlib."""
    centres = np.indices(shape).reshape(2, -1).T + 0.5
    odd = np.zeros(len(centres), bool)
    for ring in rings:
        points = np.asarray(ring, float)
        odd ^= Outline(np.vstack([points, points[:1]])).contains_points(centres)
    return odd.reshape(shape)


def written(path: Path, labels: np.ndarray, kind: ObjectFormat) -> Path:
    affine = affine_from_spacing((0.0005, 0.00025, 0.002))
    write_objects(path, LabelMap(labels, affine), as_format=kind, name="nucleus")
    return path


@pytest.mark.parametrize("num_planes", [1, 2])
def test_roifile_reads_the_same_cells(tmp_path: Path, num_planes: int) -> None:
    labels = cells(num_planes)
    path = written(tmp_path / "a_rois.zip", labels, ObjectFormat.ROI)
    back = np.zeros_like(labels)
    for roi in roifile.roiread(path):
        plane = max(roi.position - 1, 0)
        rings = roi.coordinates(multi=True)
        rings = rings if isinstance(rings, list) else [rings]
        mask = fill(rings, labels.shape[:2])
        back[mask, plane] = int(roi.name.split("-")[0])
        box = np.argwhere(mask)
        assert (roi.left, roi.top) == tuple(box.min(axis=0))
        assert (roi.right, roi.bottom) == tuple(box.max(axis=0) + 1)
        assert (roi.position > 0) == (num_planes > 1)
    np.testing.assert_array_equal(back, labels)


def test_only_cells_of_one_ring_are_traced(tmp_path: Path) -> None:
    path = written(tmp_path / "a_rois.zip", cells(), ObjectFormat.ROI)
    kinds = {roi.name: roi.roitype.name for roi in roifile.roiread(path)}
    assert kinds["00005"] == kinds["00003"] == "TRACED"
    assert kinds["00001"] == kinds["00300"] == "RECT"  # composite
    again = written(tmp_path / "b_rois.zip", cells(), ObjectFormat.ROI)
    assert path.read_bytes() == again.read_bytes()


def test_geojson_is_what_qupath_documents(tmp_path: Path) -> None:
    labels = cells(2)
    path = written(tmp_path / "a.geojson", labels, ObjectFormat.GEOJSON)
    collection = json.loads(path.read_text())
    assert collection["type"] == "FeatureCollection"
    assert len({feature["id"] for feature in collection["features"]}) == 12
    back = np.zeros_like(labels)
    for feature in collection["features"]:
        said = feature["properties"]
        assert feature["type"] == "Feature"
        assert said["objectType"] == "detection"
        assert said["isLocked"] is False
        assert said["classification"]["name"] == "nucleus"
        assert len(said["classification"]["color"]) == 3
        geometry = feature["geometry"]
        assert geometry["plane"] == {"c": -1, "z": geometry["plane"]["z"], "t": 0}
        parts = geometry["coordinates"]
        if geometry["type"] == "Polygon":
            parts = [parts]
        rings = [ring for part in parts for ring in part]
        assert all(ring[0] == ring[-1] and len(ring) >= 5 for ring in rings)
        mask = fill(rings, labels.shape[:2])
        back[mask, geometry["plane"]["z"]] = int(said["name"])
    np.testing.assert_array_equal(back, labels)
    flat = written(tmp_path / "b.geojson", cells(), ObjectFormat.GEOJSON)
    assert "plane" not in flat.read_text()


@pytest.mark.parametrize("num_planes", [1, 2])
def test_ome_tiff_holds_numbers_and_pixel_size(tmp_path: Path, num_planes: int) -> None:
    labels = cells(num_planes)
    path = written(tmp_path / "a_labels.ome.tif", labels, ObjectFormat.OME_TIFF)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == ("YX" if num_planes == 1 else "ZYX")
        back = tiff.asarray()
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    np.testing.assert_array_equal(back.T.reshape(labels.shape), labels)
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.5, "µm")
    assert pixels["PhysicalSizeY"] == 0.25
    ours = read_label_map(path)
    np.testing.assert_array_equal(ours.voxels, labels)
    assert ours.grid.spacing[:2] == pytest.approx((0.0005, 0.00025))


@pytest.mark.parametrize("kind", ObjectFormat)
def test_a_picture_without_cells_has_files_without_any(
    tmp_path: Path, kind: ObjectFormat
) -> None:
    path = tmp_path / f"empty{kind.ending}"
    empty = LabelMap(np.full((8, 9, 1), 4, np.uint8), np.eye(4))
    write_objects(path, empty, as_format=kind, background=4)
    if kind is ObjectFormat.ROI:
        assert roifile.roiread(path) == []
    elif kind is ObjectFormat.GEOJSON:
        assert json.loads(path.read_text())["features"] == []
    else:
        assert not tifffile.imread(path).any()
        assert b"PhysicalSize" not in path.read_bytes()


def test_formats_are_checked_before_anything_is_segmented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert parse_formats("") == ()
    assert parse_formats("geojson, roi,roi") == (ObjectFormat.GEOJSON, ObjectFormat.ROI)
    with pytest.raises(SettingsError, match=r"svg: expected some of roi, geojson"):
        parse_formats("svg")
    monkeypatch.setattr(object_files, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="ROI files need roifile"):
        parse_formats("roi")
