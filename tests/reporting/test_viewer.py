"""Pages to look at one case in: what they carry, and what a browser shows of it."""

import base64
import gzip
import hashlib
import json
import re

import nibabel
import numpy as np
import pytest
from chromium import chromium, needs_chromium

from medseg.errors import GridMismatchError
from medseg.labels import LabelScheme
from medseg.pages import TEMPLATES
from medseg.reporting.palette import color_of
from medseg.reporting.viewer.excerpt import cut_excerpt
from medseg.reporting.viewer.niivue import SCRIPT, compressed_script
from medseg.reporting.viewer.page import (
    ERROR_COLORS,
    ViewedCase,
    viewer_page,
    write_viewer_page,
)
from medseg.reporting.viewer.payload import stored_image
from medseg.volume import LabelMap, Volume

SCHEME = LabelScheme(names={"organ": 1, "tumour": 2})
SHAPE = (40, 36, 30)
RAS = np.array([[2.0, 0, 0, -40], [0, 2, 0, -36], [0, 0, 3, -45], [0, 0, 0, 1]])
ORGAN = (slice(4, 14), slice(20, 30), slice(6, 21))  # left, anterior
TUMOUR = (slice(26, 34), slice(8, 16), slice(15, 24))  # right, posterior, superior


def case_of(shape=SHAPE, affine=RAS, **more):
    """A bright body that fills the scan but for a dark rim of 2 voxels."""
    image = np.zeros(shape, np.int16)
    image[2:-2, 2:-2, 2:-2] = 900
    labels = np.zeros(shape, np.uint8)
    labels[ORGAN] = 1
    labels[TUMOUR] = 2
    label_map = LabelMap(labels, affine)
    return ViewedCase("case_1", Volume(image[None], affine), SCHEME, label_map, **more)


def content_of(page):
    found = re.search(
        r'<script type="application/json" id="content">(.*?)</script>', page
    )
    return json.loads(found.group(1))


def payload_of(page, name):
    found = re.search(
        rf'<script type="application/gzip" id="{name}">(.*?)</script>', page
    )
    return gzip.decompress(base64.b64decode(found.group(1)))


def test_the_script_is_the_one_that_was_published():
    noted = (TEMPLATES / "niivue" / f"{SCRIPT}.sha256").read_text().split()
    script = gzip.decompress(compressed_script())
    assert [hashlib.sha256(script).hexdigest(), SCRIPT] == noted
    assert "BSD 2-Clause" in (TEMPLATES / "niivue" / "LICENSE").read_text()


def test_a_small_case_is_carried_whole_and_exactly():
    page = viewer_page(case_of())
    header = base64.b64decode(content_of(page)["images"][0]["header"])
    file = nibabel.Nifti1Image.from_bytes(header + payload_of(page, "image-0"))
    np.testing.assert_array_equal(file.affine, RAS)
    np.testing.assert_array_equal(np.asarray(file.dataobj), case_of().volume.voxels[0])
    labels = np.frombuffer(payload_of(page, "prediction"), np.uint8)
    expected = case_of().prediction.voxels
    np.testing.assert_array_equal(labels.reshape(SHAPE, order="F"), expected)
    assert 'class="note"' not in page


def test_values_of_label_files_become_indices():
    scheme = LabelScheme(names={"organ": 205, "tumour": 420}, ignore=9)
    values = np.zeros((8, 8, 8), np.int16)
    values[2:4], values[4:6], values[7] = 205, 420, 9
    volume = Volume(np.zeros((1, 8, 8, 8), np.uint8), np.eye(4))
    case = ViewedCase("a", volume, scheme, LabelMap(values, np.eye(4)))
    labels = np.frombuffer(payload_of(viewer_page(case), "prediction"), np.uint8)
    assert labels.reshape(8, 8, 8, order="F")[:, 0, 0].tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        0,
        0,
    ]


@pytest.mark.parametrize("kind", ["float32", "int32", "uint16", "bool"])
def test_intensities_are_kept_to_a_fraction_of_their_range(kind):
    values = np.random.default_rng(0).normal(0, 400, (5, 6, 7))
    values = np.abs(values) if kind == "uint16" else values
    image = values.astype(kind)
    stored = stored_image(image)
    assert stored.voxels.dtype.itemsize <= 2
    read = stored.voxels * stored.slope + stored.intercept
    tolerance = 0.51 * np.ptp(values) / 65_535 if kind == "float32" else 0
    np.testing.assert_allclose(read, image.astype(float), rtol=0, atol=tolerance)


def test_what_is_not_finite_becomes_the_smallest_value():
    stored = stored_image(np.array([np.nan, -3.0, np.inf, 5.0]))
    assert (stored.voxels * stored.slope + stored.intercept).tolist() == [-3, -3, -3, 5]
    assert not stored_image(np.full(4, np.nan)).voxels.any()


def test_a_large_case_is_cropped_with_a_stated_margin_then_thinned():
    case = case_of()
    case.prediction.voxels[ORGAN] = 0
    few = 6_000  # of 43,200
    excerpt = cut_excerpt(
        case.volume, prediction=case.prediction, reference=None, most_voxels=few
    )
    assert excerpt.image[0].size <= few
    assert excerpt.to_file[:3, 3].tolist() == [26 - 13, 0, 15 - 9]  # 25 mm before
    assert "cropped to the structures and 25 mm around them" in excerpt.notes[0]
    assert re.match(r"every \d × \d × \d voxels only", excerpt.notes[1])
    place = np.array([5, 4, 3, 1])
    i, j, k = (excerpt.to_file @ place)[:3].astype(int)
    assert excerpt.prediction[5, 4, 3] == case.prediction.voxels[i, j, k]
    np.testing.assert_allclose(excerpt.affine @ place, RAS @ [i, j, k, 1])
    page = viewer_page(case, most_voxels=few)
    assert "at most 0.006 million voxels" in page
    assert "the scan has 40 × 36 × 30" in page


def test_of_many_channels_the_clearest_is_carried():
    case = case_of()
    noise = np.random.default_rng(0).normal(size=SHAPE)
    telling = noise + 5 * (case.prediction.voxels > 0)
    volume = Volume(np.stack([noise, telling, noise]), RAS)
    excerpt = cut_excerpt(
        volume,
        prediction=case.prediction,
        reference=None,
        channels=("T1", "FLAIR", "T2"),
        most_voxels=50_000,
    )
    assert excerpt.channels == ("FLAIR",)
    assert excerpt.image.shape == (1, *SHAPE)
    assert "only FLAIR of 3 channels" in excerpt.notes[0]


def test_label_maps_of_another_grid_are_refused():
    case = case_of(reference=LabelMap(np.zeros((3, 3, 3), np.uint8), RAS))
    with pytest.raises(GridMismatchError, match="label map and scan differ"):
        viewer_page(case)


def test_names_cannot_become_markup():
    scheme = LabelScheme(names={"</script><b>": 1})
    label_map = LabelMap(np.ones((4, 4, 4), np.uint8), np.eye(4))
    volume = Volume(np.zeros((1, 4, 4, 4), np.uint8), np.eye(4))
    case = ViewedCase("<i>case</i>", volume, scheme, label_map, detail="<u>1</u>")
    page = viewer_page(case)
    assert not {"</script><b>", "<i>case", "<u>"} & set(
        re.findall("</script><b>|<i>case|<u>", page)
    )
    assert content_of(page)["structures"][0]["name"] == "</script><b>"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        page.show(*WINDOW)
        yield page


WINDOW, STAGE = (840, 460), 530
"""Size of the window in pixels, and columns in which nothing but the case is shown."""
READY = "document.documentElement.dataset.ready"
SET = "(document.querySelector('{0}').value = '{1}', " + (
    "document.querySelector('{0}').dispatchEvent(new Event('{2}', {{bubbles: true}})))"
)


def choose(tab, selector, value, event="change"):
    tab.evaluate(SET.format(selector, value, event))


def where(picture, color):
    """Rows and columns with a colour, as (top, bottom, left, right); None if none."""
    rgb = [int(color[n : n + 2], 16) for n in (1, 3, 5)]
    near = (np.abs(picture.astype(int) - rgb) <= 3).all(axis=-1)
    near[:, STAGE:] = False  # the panel's own samples of the colours
    if near.sum() < 30:
        return None
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    edges = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return tuple(map(int, edges))


def share_of(box, body):
    """Where a box lies in another, each edge from 0 to 1."""
    top, bottom, left, right = body
    height, width = bottom - top, right - left
    return [
        (box[0] - top) / height,
        (box[1] - top) / height,
        (box[2] - left) / width,
        (box[3] - left) / width,
    ]


def expected_share(part, across, down):
    """The same for radiological view: axes run from right to left, top to bottom."""
    edges = []
    for axis in (down, across):
        size = SHAPE[axis] - 4
        low, high = part[axis].start - 2, part[axis].stop - 2
        edges += [1 - high / size, 1 - low / size]
    return edges


def turned(case, order, flips):
    """The same case with its voxel axes in another order and direction."""
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        matrix[old, new] = -1 if flip else 1
        matrix[old, 3] = SHAPE[old] - 1 if flip else 0
    affine = RAS @ matrix
    image = case.volume.voxels[0].transpose(order)[steps]
    labels = case.prediction.voxels.transpose(order)[steps]
    return ViewedCase(
        case.name, Volume(image[None], affine), SCHEME, LabelMap(labels, affine)
    )


def open_case(tab, tmp_path, case, **more):
    page = tmp_path / "case.html"
    write_viewer_page(page, case, **more)
    tab.open(page, until=READY)


def go_to(tab, part):
    """Puts the crosshair into the middle of a box of voxels, from right to superior."""
    tab.evaluate(f"medseg.view.goTo({[(p.start + p.stop) // 2 for p in part]})")


@needs_chromium
@pytest.mark.parametrize(
    ("order", "flips"),
    [
        pytest.param((0, 1, 2), (False, False, False), marks=pytest.mark.slow),  # RAS
        pytest.param((0, 1, 2), (True, True, False), marks=pytest.mark.slow),  # LPS
        ((1, 2, 0), (True, False, True)),  # PSL
    ],
)
def test_structures_are_in_their_colour_where_they_lie(tab, tmp_path, order, flips):
    open_case(tab, tmp_path, turned(case_of(), order, flips))
    choose(tab, "#prediction-as", "fill")
    choose(tab, "#opacity", "1", "input")
    for key, across, down in (("a", 0, 1), ("c", 0, 2), ("s", 1, 2)):
        tab.press(key)
        for index, part in ((1, ORGAN), (2, TUMOUR)):
            go_to(tab, part)
            picture = tab.picture()
            body = np.argwhere(picture[:, :STAGE].min(axis=-1) > 250)
            (top, left), (bottom, right) = body.min(axis=0), body.max(axis=0) + 1
            share = share_of(
                where(picture, color_of(index)), (top, bottom, left, right)
            )
            expected = expected_share(part, across, down)
            np.testing.assert_allclose(share, expected, atol=0.02, err_msg=key)
    assert tab.faults == []
    assert tab.requests == []


@needs_chromium
def test_what_lies_under_the_crosshair_is_said(tab, tmp_path):
    affine = np.diag([-1.0, -1, 1, 1]) @ RAS  # voxel axes towards left and posterior
    open_case(tab, tmp_path, case_of(affine=affine))
    tab.evaluate("medseg.view.goTo([30, 10, 10])")  # RAS: file's voxel 9, 25, 10
    x, y, z = (affine @ [9, 25, 10, 1])[:3]
    assert tab.evaluate("document.querySelector('#point').textContent").split("\n") == [
        f"{x:.1f}, {y:.1f}, {z:.1f} mm (RAS) · voxel 9, 25, 10",
        "value 900",
        "prediction: organ",
    ]


@needs_chromium
def test_errors_structures_and_lines_can_be_chosen(tab, tmp_path):
    reference = np.zeros(SHAPE, np.uint8)
    reference[4:14, 20:30, 6:26] = 1  # higher by 5 slices than what was predicted
    open_case(tab, tmp_path, case_of(reference=LabelMap(reference, RAS)))
    tab.press("c")
    go_to(tab, (ORGAN[0], ORGAN[1], slice(23, 24)))
    choose(tab, "#opacity", "1", "input")
    organ, missed = color_of(1), ERROR_COLORS["missed"]
    filled = where(tab.picture(), organ)
    tab.press("e")
    errors = tab.picture()
    found = where(errors, missed)
    assert found[0] == pytest.approx(filled[0], abs=2)
    assert found[2:] == pytest.approx(filled[2:], abs=2)
    height = (found[1] - found[0]) / (filled[1] - filled[0])
    assert height == pytest.approx(5 / 20, abs=0.03)
    assert where(errors, organ) is None
    tab.press("e")
    choose(tab, "#reference-as", "off")
    line = tab.picture()
    top, bottom, left, right = where(line, organ)  # the prediction's line
    assert (line[top + 6 : bottom - 6, left + 6 : right - 6] == 255).mean() > 0.9
    tab.press("1")
    assert where(tab.picture(), organ) is None
    assert tab.faults == []


@needs_chromium
def test_grey_values_and_slices_follow_mouse_and_keys(tab, tmp_path):
    open_case(tab, tmp_path, case_of())
    tab.press("a")
    tab.evaluate("medseg.view.goTo([10, 25, 10])")
    high = "Number(document.querySelector('#high').value)"
    point = "document.querySelector('#point').textContent"
    before = tab.evaluate(high)
    tab.mouse("mousePressed", 260, 240, button="right", buttons=2, clickCount=1)
    for x in (262, 280, 300):
        tab.mouse("mouseMoved", x, 240, button="right", buttons=2)
    tab.mouse("mouseReleased", 300, 240, button="right", clickCount=1)
    assert tab.evaluate(high) != before
    assert tab.evaluate("medseg.state.windows[0][1]") == pytest.approx(
        tab.evaluate(high), rel=1e-3
    )
    assert "voxel 10, 25, 10" in tab.evaluate(point)
    tab.press("ArrowUp")
    assert "voxel 10, 25, 11" in tab.evaluate(point)
    tab.mouse("mouseWheel", 260, 240, deltaX=0, deltaY=100)
    assert "voxel 10, 25, 11" not in tab.evaluate(point)
    tab.press("0")
    assert tab.faults == []


@needs_chromium
def test_a_page_that_stands_alone_needs_no_other_file(tab, tmp_path):
    (tmp_path / "far").mkdir()
    write_viewer_page(tmp_path / "far" / "case.html", case_of(), alone=True)
    assert [file.name for file in (tmp_path / "far").iterdir()] == ["case.html"]
    tab.open(tmp_path / "far" / "case.html", until=READY)
    assert where(tab.picture(), color_of(1)) is not None
    assert tab.faults == []


@needs_chromium
def test_a_page_without_its_script_says_so(tmp_path, tmp_path_factory):
    write_viewer_page(tmp_path / "case.html", case_of())
    (tmp_path / SCRIPT).unlink()
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        said = "document.querySelector('#trouble').textContent"
        tab.open(tmp_path / "case.html", until=said)
        assert "Keep the folder together" in tab.evaluate(said)


def picture_case(colour=True, size=1.0):
    """A picture of 60 columns and 40 rows with an organ at the top right."""
    affine = np.diag([size, size, size, 1.0])
    image = np.zeros((3 if colour else 1, 60, 40, 1), np.uint8)
    image[:, 2:-2, 2:-2] = 255
    labels = np.zeros((60, 40, 1), np.uint8)
    labels[40:55, 4:12] = 1
    label_map = LabelMap(labels, affine)
    return ViewedCase("cells", Volume(image, affine), SCHEME, label_map)


@needs_chromium
@pytest.mark.parametrize(("colour", "size"), [(True, 1.0), (False, 0.0005)])
def test_pictures_are_shown_upright_and_zoom(tab, tmp_path, colour, size):
    open_case(tab, tmp_path, picture_case(colour, size))
    assert not (tmp_path / SCRIPT).exists()
    choose(tab, "#prediction-as", "fill")
    choose(tab, "#opacity", "1", "input")
    picture = tab.picture()
    body = np.argwhere(picture[:, :STAGE].min(axis=-1) > 250)
    (top, left), (bottom, right) = body.min(axis=0), body.max(axis=0) + 1
    found = where(picture, color_of(1))
    share = share_of(found, (top, bottom, left, right))
    expected = [2 / 36, 10 / 36, 38 / 56, 53 / 56]
    np.testing.assert_allclose(share, expected, atol=0.01)
    x, y = (found[2] + found[3]) / 2, (found[0] + found[1]) / 2
    tab.mouse("mouseMoved", x, y)
    said = tab.evaluate("document.querySelector('#point').textContent").split("\n")
    column, row = map(int, re.findall(r"\d+", said[0]))
    assert (column, row) == (pytest.approx(47, abs=1), pytest.approx(8, abs=1))
    assert said[1:] == [
        f"value {'255, 255, 255' if colour else '255'}",
        "prediction: organ",
    ]
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100)
    tab.wait("medseg.view")
    larger = where(tab.picture(), color_of(1))
    grown = (larger[1] - larger[0]) / (found[1] - found[0])
    assert grown == pytest.approx(1.15, abs=0.03)
    assert tab.faults == []
    assert tab.requests == []


@needs_chromium
def test_single_objects_are_numbered_and_outlined(tab, tmp_path):
    scheme = LabelScheme(names={"cell": 1}, instances=True)
    labels = np.zeros((60, 40, 1), np.uint32)
    labels[10:20, 10:30], labels[20:30, 10:30] = 7, 70_000  # they touch
    case = ViewedCase(
        "cells",
        Volume(np.zeros((1, 60, 40, 1), np.uint8), np.eye(4)),
        scheme,
        LabelMap(labels, np.eye(4)),
    )
    open_case(tab, tmp_path, case)
    picture = tab.picture()
    top, bottom, left, right = where(picture, color_of(1))
    middle = (left + right) // 2
    rgb = [int(color_of(1)[n : n + 2], 16) for n in (1, 3, 5)]
    between = picture[(top + bottom) // 2, middle - 4 : middle + 4].astype(int)
    assert (np.abs(between - rgb).sum(axis=-1) < 12).any()  # a line where they touch
    tab.mouse("mouseMoved", middle + 20, (top + bottom) / 2)
    said = tab.evaluate("document.querySelector('#point').textContent")
    assert said.endswith("prediction: cell 70000")
    assert "<td>2</td>" in (tmp_path / "case.html").read_text()


@needs_chromium
def test_a_scan_of_one_slice_is_turned_as_radiologists_look_at_it(tab, tmp_path):
    case = case_of()
    volume = Volume(case.volume.voxels[..., 10:11], RAS)
    flat = ViewedCase(
        "slice", volume, SCHEME, LabelMap(case.prediction.voxels[..., 10:11], RAS)
    )
    open_case(tab, tmp_path, flat)
    choose(tab, "#prediction-as", "fill")
    choose(tab, "#opacity", "1", "input")
    picture = tab.picture()
    body = np.argwhere(picture[:, :STAGE].min(axis=-1) > 250)
    (top, left), (bottom, right) = body.min(axis=0), body.max(axis=0) + 1
    share = share_of(where(picture, color_of(1)), (top, bottom, left, right))
    np.testing.assert_allclose(share, expected_share(ORGAN, 0, 1), atol=0.02)
