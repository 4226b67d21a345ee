import math

import numpy as np
import pytest
from PIL import Image

from medseg.errors import InputError
from medseg.geometry import affine_from_spacing
from medseg.labels import LabelScheme
from medseg.reporting.mosaic import make_tile, write_mosaic, write_tile
from medseg.reporting.overlay import write_overlay
from medseg.reporting.palette import STRUCTURE_COLORS, color_of, colors_of
from medseg.reporting.shown_cases import choose_cases
from medseg.volume import LabelMap, Volume

SCHEME = LabelScheme(names={"organ": 1, "tumour": 2})
AFFINE = affine_from_spacing((1.0, 1.0, 2.0))


def study(shape=(24, 24, 12), affine=AFFINE):
    voxels = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    middle = tuple(slice(size // 4, size - size // 4) for size in shape)
    labels[middle] = 1
    shifted = np.roll(labels, 2, axis=0)
    return Volume(voxels, affine), LabelMap(shifted, affine), LabelMap(labels, affine)


def colours_in(path):
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return {tuple(int(v) for v in pixel) for pixel in pixels}


def rgb(color):
    return tuple(int(color[n : n + 2], 16) for n in (1, 3, 5))


def test_an_overlay_draws_the_prediction_in_the_structures_colour(tmp_path):
    volume, prediction, reference = study()
    path = tmp_path / "case.png"
    write_overlay(
        path,
        volume,
        prediction=prediction,
        reference=reference,
        scheme=SCHEME,
        title="case_1",
    )
    assert rgb(color_of(1)) in colours_in(path)


def test_an_overlay_needs_no_reference(tmp_path):
    volume, prediction, _ = study()
    path = tmp_path / "case.png"
    write_overlay(path, volume, prediction=prediction, scheme=SCHEME, title="case_1")
    assert Image.open(path).width > 600


def test_a_colour_picture_of_objects_is_drawn(tmp_path):
    volume = Volume(np.full((3, 40, 30, 1), 200, dtype=np.uint8), np.eye(4))
    cells = np.zeros((40, 30, 1), dtype=np.uint16)
    cells[5:15, 5:15], cells[15:25, 5:15] = 1, 2  # they touch
    label_map = LabelMap(cells, np.eye(4))
    path = tmp_path / "cells.png"
    write_overlay(
        path,
        volume,
        prediction=label_map,
        reference=label_map,
        scheme=LabelScheme(names={"cell": 1}, instances=True),
        title="cells",
    )
    assert rgb(color_of(1)) in colours_in(path)


def test_the_same_picture_twice_has_the_same_bytes(tmp_path):
    volume, prediction, reference = study()
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        write_overlay(
            path,
            volume,
            prediction=prediction,
            reference=reference,
            scheme=SCHEME,
            title="case_1",
        )
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_mosaic_has_a_cell_for_each_tile(tmp_path):
    volume, prediction, reference = study()
    tile = make_tile(
        volume, prediction=prediction, reference=reference, scheme=SCHEME, title="a"
    )
    write_mosaic(tmp_path / "two.png", [tile] * 2, scheme=SCHEME, columns=2)
    write_mosaic(tmp_path / "four.png", [tile] * 4, scheme=SCHEME, columns=2)
    two, four = (Image.open(tmp_path / name) for name in ("two.png", "four.png"))
    assert two.width == four.width
    assert four.height > 1.6 * two.height


def test_a_tile_is_a_small_square(tmp_path):
    volume, prediction, _ = study()
    tile = make_tile(
        volume, prediction=prediction, reference=None, scheme=SCHEME, title="a"
    )
    write_tile(tmp_path / "tile.png", tile, scheme=SCHEME)
    picture = Image.open(tmp_path / "tile.png")
    assert picture.width == picture.height < 400


def test_an_empty_mosaic_is_refused(tmp_path):
    with pytest.raises(InputError, match="no case to show"):
        write_mosaic(tmp_path / "none.png", [], scheme=SCHEME)


def test_worst_median_and_best_are_chosen_in_order():
    scores = {f"case_{n}": n / 10 for n in range(10)} | {"unknown": math.nan}
    chosen = choose_cases(scores, each=1)
    assert [(case.case_id, case.reason) for case in chosen] == [
        ("case_0", "worst"),
        ("case_4", "median"),
        ("case_9", "best"),
    ]


def test_few_cases_are_shown_once_and_none_when_none_are_wanted():
    chosen = choose_cases({"a": 0.5, "b": 0.1}, each=3)
    assert [case.case_id for case in chosen] == ["b", "a"]
    assert choose_cases({"a": 0.5}, each=0) == []


def test_structures_have_colours_of_their_own():
    assert len(set(STRUCTURE_COLORS)) == len(STRUCTURE_COLORS)
    assert colors_of(SCHEME) == {"organ": color_of(1), "tumour": color_of(2)}


def test_128_structures_can_be_told_apart_as_dicom_stores_their_colours():
    import highdicom as hd

    stored = [
        hd.color.CIELabColor.from_rgb(*rgb(color_of(n))).value for n in range(1, 129)
    ]
    lab = np.array(stored) * [100 / 65535, 255 / 65535, 255 / 65535]
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 6
    assert apart[:12, :12].min() > 20


@pytest.mark.parametrize(
    ("scores", "outliers"),
    [
        ([0.8, 0.81, 0.82, 0.83, 0.84], []),
        ([0.1, 0.81, 0.82, 0.83, 0.84], ["case0"]),
        ([0.1, 0.8, 0.9], []),  # too few to tell
        ([0.5, 0.5, 0.5, 0.5, 0.5], []),
        ([0.2, 0.25, 0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86], ["case0", "case1"]),
    ],
)
def test_only_true_outliers_are_called_so(scores, outliers):
    found = choose_cases({f"case{n}": score for n, score in enumerate(scores)})
    assert [case.case_id for case in found if case.is_outlier] == outliers
