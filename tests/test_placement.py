import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preparation_phantoms import SCHEME, box_labels, small_plan, turned_affine

from medseg.errors import GridMismatchError
from medseg.geometry import affine_from_spacing
from medseg.placement import Placement, restore
from medseg.preparation import preprocess, preprocess_label
from medseg.volume import LabelMap, Volume


@given(code=st.integers(0, 47))
@settings(max_examples=48)
def test_every_orientation_comes_back_voxel_for_voxel(code: int) -> None:
    affine = turned_affine(code)
    labels = LabelMap(box_labels(), affine)
    image = Volume(labels.voxels[None].astype(np.float32), affine)
    prepared = preprocess(image, small_plan())
    indices = preprocess_label(labels, prepared.placement, small_plan())
    back = restore(indices, prepared.placement)
    np.testing.assert_array_equal(back.affine, affine)
    np.testing.assert_array_equal(
        back.voxels, SCHEME.to_indices(labels.voxels, name="x")
    )


def test_prepared_image_is_ras() -> None:
    affine = turned_affine(11)
    voxels = np.arange(9 * 7 * 8, dtype=np.float32).reshape(1, 9, 7, 8)
    prepared = preprocess(Volume(voxels, affine), small_plan())
    grid = prepared.placement.prepared
    assert grid.orientation == "RAS"
    world = grid.affine @ [1, 2, 3, 1]
    source = np.rint(np.linalg.inv(affine) @ world).astype(int)
    assert prepared.image[0, 1, 2, 3] == voxels[0][tuple(source[:3])]


def test_not_reoriented_when_the_plan_says_so() -> None:
    affine = turned_affine(0)
    voxels = np.random.default_rng(0).random((1, 4, 5, 6), dtype=np.float32)
    prepared = preprocess(Volume(voxels, affine), small_plan(reorient=False))
    np.testing.assert_array_equal(prepared.image, voxels)


def test_restored_values_are_those_of_the_scheme() -> None:
    labels = LabelMap(box_labels(), np.eye(4))
    labels.voxels[-1, -1, -1] = 0
    prepared = preprocess(Volume(labels.voxels[None], np.eye(4)), small_plan())
    indices = preprocess_label(labels, prepared.placement, small_plan())
    back = restore(indices, prepared.placement, scheme=SCHEME)
    np.testing.assert_array_equal(back.voxels, labels.voxels)


def test_cropped_margin_comes_back_as_background() -> None:
    image = np.zeros((1, 10, 10, 10), dtype=np.float32)
    image[0, 3:8, 2:9, 4:6] = 5
    cropping = small_plan(crop_nonzero=True)
    prepared = preprocess(Volume(image, turned_affine(5)), cropping)
    assert sorted(prepared.image.shape[1:]) == [2, 5, 7]
    ones = np.ones(prepared.image.shape[1:], dtype=np.uint8)
    back = restore(ones, prepared.placement)
    np.testing.assert_array_equal(back.voxels, image[0] > 0)


def test_resampled_ball_comes_back_where_it_was() -> None:
    spacing = (0.8, 1.0, 2.5)
    affine = turned_affine(17, spacing)
    position = np.indices((40, 32, 16)).reshape(3, -1).T * spacing
    distance = np.linalg.norm(position - (16, 16, 20), axis=1).reshape(40, 32, 16)
    labels = LabelMap((3 * (distance < 10)).astype(np.uint8), affine)
    image = Volume(labels.voxels[None].astype(np.float32), affine)
    prepared = preprocess(image, small_plan())
    assert prepared.placement.is_resampled
    indices = preprocess_label(labels, prepared.placement, small_plan())
    back = restore(indices, prepared.placement, scheme=SCHEME).voxels
    dice = 2 * ((back == 3) & (labels.voxels == 3)).sum()
    dice = dice / ((back == 3).sum() + (labels.voxels == 3).sum())
    assert dice > 0.97
    volume = prepared.placement.prepared.voxel_volume_mm3 * (indices == 1).sum()
    assert volume == pytest.approx(2 * (labels.voxels == 3).sum(), rel=0.04)


def test_ignored_voxels_stay_ignored() -> None:
    labels = LabelMap(box_labels(), np.eye(4))
    prepared = preprocess(Volume(labels.voxels[None], np.eye(4)), small_plan())
    indices = preprocess_label(labels, prepared.placement, small_plan())
    assert indices[-1, -1, -1] == 255
    assert indices.dtype == np.uint8


def test_placement_survives_json() -> None:
    volume = Volume(box_labels()[None], turned_affine(33, (0.7, 1.3, 2.0)))
    placement = preprocess(volume, small_plan(crop_nonzero=True)).placement
    back = Placement.from_json(json.loads(json.dumps(placement.to_json())))
    assert back.reorientation == placement.reorientation
    assert back.crop == placement.crop
    assert not back.source.mismatch(placement.source, tolerance_mm=0)
    assert not back.prepared.mismatch(placement.prepared, tolerance_mm=0)


def test_label_on_another_grid_is_refused() -> None:
    placement = preprocess(
        Volume(box_labels()[None], np.eye(4)), small_plan()
    ).placement
    shifted = affine_from_spacing((1, 1, 1), (5, 0, 0))
    with pytest.raises(GridMismatchError, match=r"case_1: .*origin.*5 mm apart"):
        preprocess_label(
            LabelMap(box_labels(), shifted), placement, small_plan(), name="case_1"
        )


def test_indices_of_another_shape_are_not_restored() -> None:
    placement = preprocess(
        Volume(box_labels()[None], np.eye(4)), small_plan()
    ).placement
    with pytest.raises(GridMismatchError, match="shape"):
        restore(np.zeros((3, 3, 3), dtype=np.uint8), placement)


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_slice_axis_becomes_the_last_and_comes_back(axis) -> None:
    affine = turned_affine(29)
    labels = LabelMap(box_labels(), affine)
    sliced = small_plan(slice_axis=axis)
    prepared = preprocess(Volume(labels.voxels[None], affine), sliced)
    codes = prepared.placement.prepared.orientation
    assert codes[2] == "RAS"["ijk".index(axis)]
    indices = preprocess_label(labels, prepared.placement, sliced)
    back = restore(indices, prepared.placement)
    expected = SCHEME.to_indices(labels.voxels, name="x")
    np.testing.assert_array_equal(back.voxels, expected)
