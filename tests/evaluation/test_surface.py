import math

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medseg.errors import GridMismatchError
from medseg.evaluation.surface import (
    hausdorff_distance,
    surface_dice,
    surface_distances,
    surface_voxels,
)

UNIT = (1.0, 1.0, 1.0)
SPACINGS = [UNIT, (0.7, 0.7, 5.0), (2.0, 0.5, 1.25)]


def cube(start, stop, size=12):
    mask = np.zeros((size, size, size), dtype=bool)
    mask[start:stop, start:stop, start:stop] = True
    return mask


def blob(seed, shape=(22, 19, 15), share=0.25):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return noise > np.quantile(noise, 1 - share)


def one_hot(mask):
    return torch.from_numpy(mask[None, None].astype(np.float32))


def monai_scores(prediction, reference, spacing, tolerance_mm):
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    pair = {"y_pred": one_hot(prediction), "y": one_hot(reference)}
    shared = {**pair, "include_background": True, "spacing": list(spacing)}
    hd95 = float(compute_hausdorff_distance(**shared, percentile=95))
    exact_hd95 = monai_hd95_in_double(prediction, reference, spacing)
    assert hd95 == pytest.approx(exact_hd95, rel=1e-5)
    return [
        float(compute_hausdorff_distance(**shared)),
        exact_hd95,
        float(compute_average_surface_distance(**shared, symmetric=True)),
        float(compute_surface_dice(**shared, class_thresholds=[tolerance_mm])),
    ]


def monai_hd95_in_double(prediction, reference, spacing):
    """MONAI's distances and its quantile, without its rounding to float32."""
    from monai.metrics.utils import get_edge_surface_distance

    pair = (torch.from_numpy(prediction), torch.from_numpy(reference))
    _, distances, _ = get_edge_surface_distance(*pair, spacing=spacing, symmetric=True)
    return max(float(torch.quantile(d.double(), 0.95)) for d in distances)


def our_scores(prediction, reference, spacing, tolerance_mm, **options):
    found = surface_distances(prediction, reference, spacing=spacing, **options)
    return [
        found.hausdorff(),
        found.hausdorff(percentile=95),
        found.average(),
        found.surface_dice(tolerance_mm=tolerance_mm),
    ]


def test_the_surface_of_a_cube_is_its_outermost_layer():
    assert np.count_nonzero(surface_voxels(cube(2, 7))) == 5**3 - 3**3


def test_a_shifted_cube_is_as_far_as_the_shift():
    shifted = np.roll(cube(2, 7), 3, axis=2)
    assert hausdorff_distance(shifted, cube(2, 7), spacing=(1, 1, 2.5)) == 7.5


def test_equal_masks_agree_fully():
    assert our_scores(cube(2, 7), cube(2, 7), UNIT, 0.0) == [0, 0, 0, 1]


def test_a_single_voxel_three_voxels_away():
    a, b = np.zeros((2, 9, 9, 9), dtype=bool)
    a[4, 4, 1] = b[4, 4, 4] = True
    assert our_scores(a, b, (1, 1, 2.0), 5.9) == [6, 6, 6, 0]
    assert our_scores(a, b, (1, 1, 2.0), 6.0)[3] == 1


def test_an_empty_mask_is_infinitely_far_and_two_have_no_distance():
    empty = np.zeros((12, 12, 12), dtype=bool)
    missed = surface_distances(empty, cube(2, 7), spacing=UNIT)
    assert missed.hausdorff() == missed.average() == math.inf
    assert missed.surface_dice(tolerance_mm=100) == 0
    absent = surface_distances(empty, empty, spacing=UNIT)
    assert math.isnan(absent.hausdorff())
    assert math.isnan(absent.average())
    assert math.isnan(absent.surface_dice(tolerance_mm=1))


def test_the_border_of_the_image_is_a_surface():
    full = np.ones((5, 5, 5), dtype=bool)
    assert np.count_nonzero(surface_voxels(full)) == 5**3 - 3**3


def test_one_slice_is_scored_in_two_dimensions():
    square = np.zeros((9, 9, 1), dtype=bool)
    square[2:7, 2:7] = True
    found = surface_distances(square, square, spacing=UNIT)
    assert found.from_prediction.size == 16  # the rim, not all 25


def test_a_flat_structure_in_a_thick_image_is_scored_in_three():
    plate = np.zeros((9, 9, 9), dtype=bool)
    plate[2:7, 2:7, 4] = True
    found = surface_distances(plate, plate, spacing=UNIT)
    assert found.from_prediction.size == 25


def test_a_tilted_grid_measures_along_its_own_axes():
    a, b = np.zeros((2, 9, 9, 9), dtype=bool)
    a[4, 4, 1] = True
    b[4, 1, 4] = True
    lean = np.array([[1, 0, 0], [0, 1, 0.6], [0, 0, 0.8]])
    tilted = surface_distances(a, b, spacing=UNIT, direction=lean)
    expected = np.linalg.norm(lean @ [0, -3, 3])
    assert tilted.hausdorff() == pytest.approx(expected, abs=1e-12)


def test_different_shapes_are_refused():
    with pytest.raises(GridMismatchError, match=r"reference \(3, 3, 3\)"):
        surface_distances(cube(1, 2), np.ones((3, 3, 3), dtype=bool), spacing=UNIT)


masks = hnp.arrays(bool, (5, 6, 4), elements=st.booleans())


@given(masks)
def test_surface_voxels_are_the_mask_without_its_erosion(mask):
    expected = mask ^ ndimage.binary_erosion(mask)
    np.testing.assert_array_equal(surface_voxels(mask), expected)


@given(masks, masks)
def test_swapping_prediction_and_reference_changes_nothing(a, b):
    forward = our_scores(a, b, (0.7, 1.1, 3.0), 1.0)
    np.testing.assert_allclose(our_scores(b, a, (0.7, 1.1, 3.0), 1.0), forward)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_voxel_surfaces_agree_with_monai(seed, spacing):
    pair = blob(seed), blob(seed + 10)
    ours = our_scores(*pair, spacing, 1.0)
    expected = monai_scores(*pair, spacing, 1.0)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_two_dimensional_surfaces_agree_with_monai():
    pair = blob(1, (40, 37, 1)), blob(2, (40, 37, 1))
    ours = our_scores(*pair, (0.5, 2.0, 9.0), 1.0)
    expected = monai_scores(pair[0][..., 0], pair[1][..., 0], (0.5, 2.0), 1.0)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_element_surfaces_agree_with_monai_subvoxels(spacing):
    from monai.metrics import compute_surface_dice

    pair = blob(1), blob(2)
    expected = compute_surface_dice(
        y_pred=one_hot(pair[0]),
        y=one_hot(pair[1]),
        class_thresholds=[1.0],
        include_background=True,
        spacing=list(spacing),
        use_subvoxels=True,
    )
    ours = surface_dice(*pair, spacing=spacing, tolerance_mm=1.0, surface="elements")
    assert ours == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.filterwarnings("ignore:Please use")
def test_element_surfaces_agree_with_deepminds_package(spacing):
    deepmind = pytest.importorskip("surface_distance.metrics")
    pair = blob(3), blob(4)
    theirs = deepmind.compute_surface_distances(pair[1], pair[0], spacing)
    ours = surface_distances(*pair, spacing=spacing, surface="elements")
    for percent in (50, 95):
        assert ours.hausdorff(percentile=percent) == pytest.approx(
            deepmind.compute_robust_hausdorff(theirs, percent), rel=1e-6
        )
    assert ours.surface_dice(tolerance_mm=1.0) == pytest.approx(
        deepmind.compute_surface_dice_at_tolerance(theirs, 1.0), rel=1e-6
    )
    directed = deepmind.compute_average_surface_distance(theirs)
    ours_directed = np.average(ours.from_prediction, weights=ours.prediction_weights)
    assert ours_directed == pytest.approx(directed[1], rel=1e-6)


def sitk_image(mask, spacing):
    image = SimpleITK.GetImageFromArray(mask.T.astype(np.uint8))
    image.SetSpacing(spacing)
    return image


def sitk_distances(from_mask, to_mask, spacing):
    """SimpleITK's recipe: distance map of one contour, read along the other."""
    contours = [
        SimpleITK.LabelContour(sitk_image(mask, spacing))
        for mask in (from_mask, to_mask)
    ]
    field = SimpleITK.Abs(
        SimpleITK.SignedMaurerDistanceMap(
            contours[1], squaredDistance=False, useImageSpacing=True
        )
    )
    arrays = [SimpleITK.GetArrayFromImage(image) for image in (field, contours[0])]
    return arrays[0][arrays[1] > 0]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_voxel_surfaces_agree_with_the_simpleitk_recipe(seed, spacing):
    # Padded, since SimpleITK draws no contour along the border of the image.
    pair = np.pad(blob(seed), 2), np.pad(blob(seed + 20), 2)
    forth, back = (
        sitk_distances(pair[0], pair[1], spacing),
        sitk_distances(pair[1], pair[0], spacing),
    )
    expected = [
        max(forth.max(), back.max()),
        max(np.percentile(forth, 95), np.percentile(back, 95)),
        np.concatenate([forth, back]).mean(),
        (np.concatenate([forth, back]) <= 1.0).mean(),
    ]
    ours = our_scores(*pair, spacing, 1.0)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_hausdorff_agrees_with_simpleitk_where_the_sets_are_convex(spacing):
    # SimpleITK takes the distances between whole sets, which for convex sets are
    # attained on the surfaces.
    a, b = cube(2, 6), cube(3, 10)
    measure = SimpleITK.HausdorffDistanceImageFilter()
    measure.Execute(sitk_image(a, spacing), sitk_image(b, spacing))
    ours = hausdorff_distance(a, b, spacing=spacing)
    assert ours == pytest.approx(measure.GetHausdorffDistance(), abs=1e-6)
