"""Structure sets as they come: areas, holes, copies, planes, edges and references."""

from pathlib import Path

import numpy as np
import pytest
from dicom_phantom import ORIENTATIONS
from structures_phantom import Plan, box, plan, write_structures_of

from medseg.errors import GeometryError, InputError, LabelError
from medseg.io.dicom import Kind, read_series
from medseg.io.dicom.label_objects.contours import region_of
from medseg.io.dicom.label_objects.labels import ImageLabels, read_labels
from medseg.io.dicom.label_objects.references import LabelledImage
from medseg.io.dicom.label_objects.structure_choice import (
    StructureChoice,
    parse_structures,
)

SHAPE = (40, 48)
OUTER = np.array(box(5.5, 25.5, 5.5, 25.5))  # 20 × 20 pixels
INNER = np.array(box(10.5, 15.5, 10.5, 15.5))  # 5 × 5 of them
ISLAND = np.array(box(12.5, 13.5, 12.5, 13.5))
SLIT = [(5.5, 13), (10.5, 13), (10.5, 15.5), (15.5, 15.5)]
BACK = [(15.5, 10.5), (10.5, 10.5), (10.5, 13), (5.5, 13)]
KEYHOLE = np.array([*OUTER, *SLIT, *BACK])


@pytest.mark.parametrize(
    ("contours", "united", "exclusive"),
    [
        ([OUTER], 400, 400),
        ([OUTER, OUTER], 400, 400),
        ([OUTER, OUTER[::-1] + 0.2], 400, 400),
        ([OUTER, np.roll(OUTER, 1, axis=0), OUTER], 400, 400),
        ([np.vstack([OUTER, OUTER])], 400, 400),
        ([OUTER, OUTER + 10], 700, 600),
        ([OUTER, OUTER + 10, OUTER + 10.1], 700, 600),
        ([OUTER, INNER], 375, 375),
        ([INNER, OUTER], 375, 375),
        ([OUTER, INNER, INNER + 0.1], 375, 375),
        ([OUTER, INNER, ISLAND], 376, 376),
        ([KEYHOLE], 375, 375),
        ([KEYHOLE, ISLAND], 376, 376),
        ([OUTER, box(5.5, 10.5, 8.5, 12.5)], 380, 380),
        ([OUTER, box(5.46, 10.5, 8.5, 12.5)], 380, 380),
        ([OUTER, np.array(box(30.5, 32.5, 5.5, 7.5))], 404, 404),
        ([np.array([(5.0, 5.0), (9.0, 9.0)])], 0, 0),
        ([], 0, 0),
    ],
)
def test_contours_of_a_plane_combine(
    contours: list[np.ndarray], united: int, exclusive: int
) -> None:
    arrays = [np.asarray(points, dtype=float) for points in contours]
    assert region_of(arrays).pixels(SHAPE).sum() == united
    crossed = region_of(arrays, is_exclusive=True)
    assert crossed.pixels(SHAPE).sum() == exclusive


@pytest.mark.parametrize("spacing", [0.488, 0.6, 0.7, 0.8, 0.9765625, 1.0, 1.3])
@pytest.mark.parametrize("origin", [-12.0, -249.51, 0.1])
def test_centres_on_an_outline_are_inside_at_every_spacing(
    spacing: float, origin: float
) -> None:
    corners = np.array(box(5, 25, 7, 30))
    written = np.round(origin + corners * spacing, 4)
    region = region_of([(written - origin) / spacing])
    expected = np.zeros(SHAPE, dtype=bool)
    expected[7:31, 5:26] = True
    np.testing.assert_array_equal(region.pixels(SHAPE), expected)
    inner = region.pixels(SHAPE, with_outline=False)
    np.testing.assert_array_equal(inner[8:30, 6:25], True)
    assert inner.sum() == 22 * 19


def labels_of(
    plan: Plan, path: Path, structures: str | None = None
) -> tuple[np.ndarray, list[str], ImageLabels]:
    """Label map on the CT, what was said, and the rest."""
    series = plan.series
    images = [LabelledImage("ct", series, read_series(series).volume.grid)]
    choice = (
        parse_structures(structures)
        if structures
        else StructureChoice.of_names(["one", "two", "three"])
    )
    labels = read_labels(path, Kind.STRUCTURES, images, choice)
    return labels.label_map.voxels, [str(c) for c in labels.corrections], labels


@pytest.mark.parametrize("plane", ORIENTATIONS)
def test_outlines_land_on_their_slices(tmp_path: Path, plane: str) -> None:
    ct = plan(tmp_path, plane)
    outlines = [ct.outline(box(2.5, 8.5, 3.5, 7.5), k) for k in (4, 5, 6)]
    voxels, said, labels = labels_of(ct, write_structures_of(ct, {"one": outlines}))
    expected = np.zeros((24, 20, 10), np.uint8)
    expected[3:9, 4:8, 4:7] = 1
    np.testing.assert_array_equal(voxels, expected)
    assert said == []
    assert labels.image == "ct"


def ring(plane: str, ct: Plan) -> np.ndarray:
    """A circle of 5 mm across the slices, along rows or columns, or tilted."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    centre = ct.outline([(12, 10)], 5)[0]
    normal = np.cross(ct.row, ct.column)
    first, second = {
        "along rows": (ct.row, normal),
        "along columns": (ct.column, normal),
        "tilted": (ct.row, (ct.column + 0.2 * normal) / np.hypot(1, 0.2)),
    }[plane]
    return centre + 5 * (
        np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    )


@pytest.mark.parametrize("across", ["along rows", "along columns", "tilted"])
@pytest.mark.parametrize("plane", ["axial", "oblique"])
def test_contours_across_the_slices_are_refused(
    tmp_path: Path, across: str, plane: str
) -> None:
    ct = plan(tmp_path, plane)
    path = write_structures_of(ct, {"one": [ring(across, ct)]})
    with pytest.raises(
        GeometryError, match=r"rs\.dcm: contours of 'one' do not lie in the slices'"
    ):
        labels_of(ct, path)


@pytest.mark.parametrize(
    ("outlines", "voxels", "said"),
    [
        # the scan has ten slices
        ([(box(2.5, 8.5, 3.5, 7.5), k) for k in range(-4, 14)], 240, "8 of 18"),
        # past all four edges of 24 × 20 pixels
        ([(box(-30, 40, -30, 40), k) for k in (3, 4)], 960, "past the edge"),
        # 0.4 of a slice distance off
        ([(box(2.5, 8.5, 3.5, 7.5), 4.4)], 24, "moved: contours of 'one' up to 1 mm"),
        # two heights of one slice: neither is a hole of the other
        (
            [(box(2.5, 8.5, 3.5, 7.5), 4.3), (box(3.5, 7.5, 4.5, 6.5), 3.9)],
            24,
            "moved",
        ),
        ([(box(2.5, 8.5, 3.5, 7.5), 4)] * 2, 24, "copies: 1 contours of 'one'"),
        (
            [(box(2.5, 8.5, 3.5, 7.5), 4), (box(5.5, 11.5, 3.5, 7.5), 4)],
            36,
            "united: 1 contours of 'one'",
        ),
    ],
)
def test_what_is_done_to_contours_is_said(
    tmp_path: Path,
    outlines: list[tuple[list[tuple[float, float]], float]],
    voxels: int,
    said: str,
) -> None:
    ct = plan(tmp_path)
    drawn = [ct.outline(points, k) for points, k in outlines]
    found, told, _ = labels_of(ct, write_structures_of(ct, {"one": drawn}))
    assert (found > 0).sum() == voxels
    (line,) = told
    assert said in line


def test_a_contour_on_a_missing_slice_fills_the_interpolated_one(
    tmp_path: Path,
) -> None:
    ct = plan(tmp_path)
    Path(str(ct.slices[5].filename)).unlink()
    outlines = [ct.outline(box(2.5, 8.5, 3.5, 7.5), k) for k in (4, 5, 6)]
    found, _, _ = labels_of(ct, write_structures_of(ct, {"one": outlines}))
    assert found.shape == (24, 20, 10)
    assert found.sum(axis=(0, 1)).tolist() == [0, 0, 0, 0, 24, 24, 24, 0, 0, 0]


def test_structures_without_voxels_are_said(tmp_path: Path) -> None:
    ct = plan(tmp_path)
    rois = {
        "one": [ct.outline(box(2.5, 8.5, 3.5, 7.5), 4)],
        "two": [ct.outline(box(2.1, 2.4, 3.1, 3.4), 4)],  # between the centres
        "three": [ct.outline(box(2.5, 8.5, 3.5, 7.5), 40)],  # above the scan
    }
    found, said, _ = labels_of(ct, write_structures_of(ct, rois))
    assert np.unique(found).tolist() == [0, 1]
    assert [line for line in said if line.startswith("empty")] == [
        "empty: 'three' holds no voxel of the scan that is its own",
        "empty: 'two' holds no voxel of the scan that is its own",
    ]
    path = write_structures_of(ct, {"one": rois["three"]})
    with pytest.raises(LabelError, match="was it drawn on another image"):
        labels_of(ct, path)


def test_structures_that_share_an_outline_do_not_overlap(tmp_path: Path) -> None:
    ct = plan(tmp_path)
    rois = {
        "one": [ct.outline(box(2, 8, 3, 7), 4)],
        "two": [ct.outline(box(8, 12, 3, 7), 4)],
    }
    found, _, _ = labels_of(ct, write_structures_of(ct, rois))
    assert [(found == value).sum() for value in (1, 3)] == [7 * 5, 4 * 5]
    rois["two"] = [ct.outline(box(6, 12, 3, 7), 4)]
    with pytest.raises(LabelError, match="'two' overlaps 'one'"):
        labels_of(ct, write_structures_of(ct, rois))
    found, _, _ = labels_of(ct, write_structures_of(ct, rois), "two, one")
    assert [(found == value).sum() for value in (1, 2)] == [7 * 5, 4 * 5]


@pytest.mark.parametrize(
    ("references", "how"),
    [
        ({"series_uid": ""}, "frame of reference and planes"),
        ({"series_uid": "1.2.3.4"}, "frame of reference and planes"),
        ({"series_uid": "", "names_slices": True}, "its slices"),
        (
            {"series_uid": "1.2.3.4", "names_slices": True, "frame_uid": "9.9"},
            "its slices",
        ),
    ],
)
def test_stale_references_give_way_to_slices_and_planes(
    tmp_path: Path, references: dict[str, object], how: str
) -> None:
    ct = plan(tmp_path)
    outlines = [ct.outline(box(2.5, 8.5, 3.5, 7.5), k) for k in (4, 5, 6)]
    path = write_structures_of(ct, {"one": outlines}, **references)  # type: ignore[arg-type]
    found, said, _ = labels_of(ct, path)
    assert found.sum() == 72
    assert said == [
        f"reference: the series that it names is not here; {how} are those of ct"
    ]


@pytest.mark.parametrize(
    ("references", "heights"),
    [
        ({"series_uid": "1.2.3.4", "frame_uid": "9.9"}, (4, 5)),
        ({"series_uid": "1.2.3.4"}, (4.3, 5.3)),
        ({"series_uid": ""}, (40, 41)),
    ],
)
def test_without_any_fitting_reference_structures_are_refused(
    tmp_path: Path, references: dict[str, object], heights: tuple[float, float]
) -> None:
    ct = plan(tmp_path)
    outlines = [ct.outline(box(2.5, 8.5, 3.5, 7.5), k) for k in heights]
    path = write_structures_of(ct, {"one": outlines}, **references)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the image series .* is not here"):
        labels_of(ct, path)


def test_two_images_that_fit_are_not_chosen_from(tmp_path: Path) -> None:
    ct = plan(tmp_path)
    outlines = [ct.outline(box(2.5, 8.5, 3.5, 7.5), 4)]
    path = write_structures_of(ct, {"one": outlines}, series_uid="")
    grid = read_series(ct.series).volume.grid
    images = [LabelledImage(name, ct.series, grid) for name in ("a", "b")]
    choice = parse_structures("one")
    with pytest.raises(InputError, match="may belong to any of 2 volumes"):
        read_labels(path, Kind.STRUCTURES, images, choice)
