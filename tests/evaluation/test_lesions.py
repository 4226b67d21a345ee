import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.errors import GridMismatchError
from medseg.evaluation.lesions import (
    Lesion,
    score_lesions,
    size_bin_names,
    size_bin_of,
)

EDGES = (0.1, 1.0, 10.0)


def boxes(*corners, size=20):
    mask = np.zeros((size, size, size), dtype=bool)
    for corner, edge in corners:
        mask[tuple(slice(start, start + edge) for start in corner)] = True
    return mask


TWO = boxes(((1, 1, 1), 4), ((10, 10, 10), 2))


def test_one_found_one_missed_one_invented():
    prediction = boxes(((1, 1, 1), 4), ((15, 1, 1), 3))
    scores = score_lesions(prediction, TWO, voxel_volume_mm3=1)
    assert scores.lesions == (
        Lesion(1, 0.064, 1.0, detected=True, dice=1.0),
        Lesion(2, 0.008, 0.0, detected=False, dice=0.0),
    )
    assert scores.false_positives_ml == (0.027,)
    assert scores.sensitivity == 1 / 2
    assert scores.f1 == 2 / 4
    assert scores.lesionwise_dice == 1 / 3


def test_a_lesion_found_in_two_pieces_is_one_hit():
    prediction = TWO.copy()
    prediction[2:3, :5] = False  # cuts the first lesion, leaving 3 of 4 layers
    scores = score_lesions(prediction, TWO, voxel_volume_mm3=1)
    assert scores.lesions[0].dice == 2 * 48 / (48 + 64)
    assert scores.false_positives_ml == ()


def test_a_lesion_that_is_barely_touched_is_not_found_nor_a_false_positive():
    prediction = boxes(((4, 4, 4), 1))
    scores = score_lesions(prediction, TWO, voxel_volume_mm3=1, coverage=0.1)
    assert scores.num_detected == 0
    assert scores.false_positives_ml == ()
    assert score_lesions(prediction, TWO, voxel_volume_mm3=1, coverage=0).num_detected


def test_corners_touch_in_three_dimensions():
    diagonal = boxes(((1, 1, 1), 2), ((3, 3, 3), 2))
    assert len(score_lesions(TWO, diagonal, voxel_volume_mm3=1).lesions) == 1


def test_corners_touch_in_a_single_slice():
    picture = np.zeros((6, 6, 1), dtype=bool)
    picture[1, 1] = picture[2, 2] = picture[5, 5] = True
    assert len(score_lesions(picture, picture, voxel_volume_mm3=1).lesions) == 2


def test_components_below_the_smallest_volume_are_noise():
    prediction = boxes(((15, 1, 1), 2))
    scores = score_lesions(prediction, TWO, voxel_volume_mm3=1, min_ml=0.01)
    assert len(scores.lesions) == 1
    assert scores.false_positives_ml == ()


def test_no_lesion_and_no_finding_has_no_score():
    empty = np.zeros((4, 4, 4), dtype=bool)
    scores = score_lesions(empty, empty, voxel_volume_mm3=1)
    assert np.isnan([scores.sensitivity, scores.f1, scores.lesionwise_dice]).all()


def test_a_healthy_scan_with_a_finding_scores_zero():
    scores = score_lesions(TWO, np.zeros_like(TWO), voxel_volume_mm3=1)
    assert np.isnan(scores.sensitivity)
    assert scores.f1 == scores.lesionwise_dice == 0


def test_size_bins_name_their_borders():
    assert size_bin_names(EDGES) == (
        "below 0.1 ml",
        "0.1 to 1 ml",
        "1 to 10 ml",
        "from 10 ml",
    )
    assert size_bin_of(0.0999, EDGES) == "below 0.1 ml"
    assert size_bin_of(0.1, EDGES) == "0.1 to 1 ml"
    assert size_bin_of(50, EDGES) == "from 10 ml"
    assert size_bin_of(50, ()) == "all sizes"


def test_different_shapes_are_refused():
    with pytest.raises(GridMismatchError, match="reference"):
        score_lesions(TWO, TWO[:3], voxel_volume_mm3=1)


masks = hnp.arrays(bool, (7, 6, 5), elements=st.booleans())


@given(masks, masks)
def test_lesions_agree_with_a_plain_loop(prediction, reference):
    from scipy import ndimage

    box = np.ones((3, 3, 3))
    found, num_found = ndimage.label(prediction, box)
    truth, num_lesions = ndimage.label(reference, box)
    expected = []
    for number in range(1, num_lesions + 1):
        lesion = truth == number
        touching = np.unique(found[lesion & prediction])
        match = np.isin(found, touching) & prediction
        dice = 2 * (match & lesion).sum() / (match.sum() + lesion.sum())
        expected.append((lesion.sum() / 1000, dice))
    invented = sum(
        not reference[found == number].any() for number in range(1, num_found + 1)
    )
    scores = score_lesions(prediction, reference, voxel_volume_mm3=1, coverage=0)
    ours = [(lesion.volume_ml, lesion.dice) for lesion in scores.lesions]
    np.testing.assert_allclose(sorted(ours), sorted(expected))
    assert len(scores.false_positives_ml) == invented
