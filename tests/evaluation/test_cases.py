import math

import numpy as np
import pytest

from medseg.errors import GridMismatchError, LabelError
from medseg.evaluation.cases import diagonal_mm, score_case, score_objects
from medseg.evaluation.settings import MetricSettings
from medseg.geometry import Grid, affine_from_spacing
from medseg.labels import LabelScheme
from medseg.volume import LabelMap

SCHEME = LabelScheme(
    names={"organ": 1, "tumour": 2}, regions={"both": ("organ", "tumour")}
)
AFFINE = affine_from_spacing((1.0, 1.0, 2.0))


def label_map(*parts, shape=(12, 12, 12), affine=AFFINE):
    voxels = np.zeros(shape, dtype=np.uint8)
    for value, start, stop in parts:
        voxels[start:stop, start:stop, start:stop] = value
    return LabelMap(voxels, affine)


FULL = label_map((1, 2, 8), (2, 4, 6))


def rows_by_name(prediction, reference=FULL, scheme=SCHEME, **settings):
    rows = score_case(prediction, reference, scheme, MetricSettings(**settings))
    return {row.structure: row for row in rows}


def test_a_perfect_prediction():
    for row in score_case(FULL, FULL, SCHEME):
        assert row.dice == row.nsd == row.sensitivity == 1
        assert row.hd_mm == row.assd_mm == row.volume_error_ml == 0
        assert row.outcome == "scored"


def test_a_missed_structure_gets_the_worst_values():
    row = rows_by_name(label_map((1, 2, 8)))["tumour"]
    assert row.outcome == "missed"
    assert row.dice == row.nsd == row.precision == 0
    assert row.hd95_mm == row.assd_mm == math.sqrt(11**2 + 11**2 + 22**2)
    assert row.volume_error_ml == -0.016


def test_an_invented_structure_gets_the_worst_values_too():
    row = rows_by_name(FULL, label_map((1, 2, 8)))["tumour"]
    assert row.outcome == "invented"
    assert row.dice == row.nsd == 0
    assert row.hd95_mm == diagonal_mm(FULL.grid)
    assert math.isnan(row.sensitivity)


def test_a_structure_in_neither_has_no_score():
    organ_only = label_map((1, 2, 8))
    row = rows_by_name(organ_only, organ_only)["tumour"]
    assert row.outcome == "absent"
    assert np.isnan([row.dice, row.hd95_mm, row.nsd]).all()


def test_a_region_is_scored_as_the_union_of_its_structures():
    rows = rows_by_name(label_map((1, 2, 8)))
    assert rows["both"].dice == 1
    assert rows["both"].hd_mm == 0
    assert rows["organ"].dice < 1


def test_values_in_files_need_not_be_dense():
    scheme = LabelScheme(names={"organ": 7, "tumour": 200})
    other = LabelMap(np.array([0, 7, 200], dtype=np.uint8)[FULL.voxels], AFFINE)
    assert all(row.dice == 1 for row in score_case(other, other, scheme))


def test_ignored_voxels_are_left_out_of_overlap_and_surfaces():
    scheme = LabelScheme(names={"organ": 1}, ignore=9)
    prediction = label_map((1, 2, 8))
    reference = label_map((1, 2, 8))
    prediction.voxels[10, 10, 10] = 1
    reference.voxels[10, 10, 10] = 9
    row = rows_by_name(prediction, reference, scheme)["organ"]
    assert row.dice == 1
    assert row.hd_mm == 0


def test_another_grid_is_refused_and_named():
    moved = label_map((1, 2, 8), affine=affine_from_spacing((1.0, 1.0, 2.0), (5, 0, 0)))
    with pytest.raises(GridMismatchError, match=r"case_7: .*origin \[5.0"):
        score_case(moved, FULL, SCHEME, case_id="case_7")


def test_the_same_voxels_in_another_orientation_are_scored():
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = FULL.voxels.shape[1] - 1
    turned = LabelMap(FULL.voxels[:, ::-1], FULL.affine @ flip)
    assert all(row.dice == 1 for row in score_case(turned, FULL, SCHEME))


def test_unknown_values_are_refused():
    with pytest.raises(
        LabelError, match=r"case_7 \(prediction\): label map holds \[5\]"
    ):
        score_case(label_map((5, 1, 2)), FULL, SCHEME, case_id="case_7")


def test_tolerances_can_differ_by_structure():
    shifted = LabelMap(np.roll(FULL.voxels, 1, axis=2), AFFINE)
    rows = rows_by_name(shifted, tolerance_mm=1.9, tolerances_mm={"organ": 2.0})
    assert rows["organ"].nsd == 1
    assert rows["tumour"].nsd < 1


def test_lesions_are_scored_where_asked_for():
    rows = rows_by_name(label_map((1, 2, 8)), lesions=("tumour",))
    assert rows["organ"].lesions is None
    assert rows["tumour"].lesions.sensitivity == 0


def test_a_single_slice_is_scored_in_two_dimensions():
    picture = np.zeros((9, 9, 1), dtype=np.uint8)
    picture[2:7, 2:7] = 1
    hole = picture.copy()
    hole[4, 4] = 0  # in 2D its four neighbours become surface
    pair = LabelMap(picture, AFFINE), LabelMap(hole, AFFINE)
    scheme = LabelScheme(names={"cell": 1})
    row = score_case(*pair, scheme)[0]
    assert row.hd_mm == 1  # from the neighbours of the hole to the rim


def test_the_sheared_grid_of_a_tilted_gantry_is_measured_in_the_world():
    affine = AFFINE.copy()
    affine[1, 2] = 1.0
    reference = label_map((1, 2, 5), affine=affine)
    shifted = LabelMap(np.roll(reference.voxels, 3, axis=2), affine)
    row = score_case(shifted, reference, LabelScheme(names={"organ": 1}))[0]
    clouds = [
        np.argwhere(m.voxels) @ affine[:3, :3].T
        for m in (shifted, reference)  # cubes of 3 voxels: all but one are surface
    ]
    gaps = np.linalg.norm(clouds[0][:, None] - clouds[1][None], axis=-1)
    centre = len(gaps) // 2
    forth, back = (np.delete(gaps, centre, axis).min(axis) for axis in (1, 0))
    expected = np.concatenate([np.delete(forth, centre), np.delete(back, centre)])
    assert row.assd_mm == pytest.approx(expected.mean())


def test_objects_are_counted_whatever_their_numbers():
    scheme = LabelScheme(names={"cell": 1}, instances=True)
    reference = label_map((4, 1, 3), (9, 5, 8))
    prediction = label_map((1, 1, 3))
    scores = score_objects(prediction, reference, scheme)
    assert (scores.num_predicted, scores.num_reference) == (1, 2)
    assert scores.at(0.5).found == 1


def test_the_diagonal_of_a_grid():
    grid = Grid((4, 5, 1), affine_from_spacing((1.0, 1.0, 9.0)))
    assert diagonal_mm(grid) == 5


def two_lumps() -> np.ndarray:
    """Two touching structures with uneven surfaces, as of a hippocampus."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(
        np.random.default_rng(4).normal(size=(34, 46, 28)), 2
    )
    i, j, k = (np.linspace(-1, 1, n) for n in noise.shape)
    radius = (i[:, None, None] / 0.6) ** 2 + (j[:, None] / 0.85) ** 2 + (k / 0.7) ** 2
    inside = radius + 4 * noise < 0.8
    return np.where(inside, np.where(j[:, None] > 0.1, 1, 2), 0).astype(np.uint8)


@pytest.mark.parametrize("change", ["shifted", "eroded"])
def test_uneven_label_maps_agree_with_monai_and_simpleitk(change):
    import SimpleITK
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )
    from scipy import ndimage

    affine = affine_from_spacing((1.0, 1.5, 2.5))
    reference = LabelMap(two_lumps(), affine)
    if change == "shifted":
        changed = np.roll(reference.voxels, (1, 2), axis=(0, 1))
    else:
        inside = ndimage.binary_erosion(reference.voxels > 0)
        changed = np.where(inside, reference.voxels, 0).astype(np.uint8)
    scheme = LabelScheme(names={"anterior": 1, "posterior": 2})
    rows = score_case(LabelMap(changed, affine), reference, scheme)
    for row, value in zip(rows, (1, 2), strict=True):
        masks = changed == value, reference.voxels == value
        y_pred, y = (torch.from_numpy(m[None, None].astype(np.float32)) for m in masks)
        shared = {"include_background": True, "spacing": [1.0, 1.5, 2.5]}
        assert row.hd_mm == pytest.approx(
            float(compute_hausdorff_distance(y_pred, y, **shared)), rel=1e-6
        )
        average = compute_average_surface_distance(y_pred, y, symmetric=True, **shared)
        assert row.assd_mm == pytest.approx(float(average), rel=1e-6)
        nsd = compute_surface_dice(y_pred, y, class_thresholds=[1.0], **shared)
        assert row.nsd == pytest.approx(float(nsd), rel=1e-6)
        measures = SimpleITK.LabelOverlapMeasuresImageFilter()
        measures.Execute(
            *(SimpleITK.GetImageFromArray(m.astype(np.uint8)) for m in masks)
        )
        assert row.dice == pytest.approx(measures.GetDiceCoefficient(), abs=1e-6)
        assert row.iou == pytest.approx(measures.GetJaccardCoefficient(), abs=1e-6)
