import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from medseg.errors import GridMismatchError
from medseg.evaluation.instances import score_instances

REFERENCE = np.array(
    [
        [1, 1, 0, 2, 2],
        [1, 1, 0, 2, 2],
        [0, 0, 0, 0, 0],
        [3, 3, 3, 3, 0],
    ]
)


def test_a_perfect_prediction_with_other_numbers():
    prediction = np.array([0, 70, 5, 9])[REFERENCE]
    scores = score_instances(prediction, REFERENCE)
    assert [m.average_precision for m in scores.matches] == [1] * 5
    assert scores.at(0.5).panoptic_quality == scores.aggregated_jaccard == 1


def test_scores_known_by_hand():
    prediction = REFERENCE.copy()
    prediction[prediction == 1] = 0  # missed
    prediction[3, 3] = 0  # object 3 keeps 3 of 4 pixels: IoU 0.75
    prediction[2, 4] = 9  # invented
    scores = score_instances(prediction, REFERENCE)
    at_half, at_most = scores.at(0.5), scores.at(0.8)
    assert (at_half.found, at_half.invented, at_half.missed) == (2, 1, 1)
    assert (at_most.found, at_most.invented, at_most.missed) == (1, 2, 2)
    assert at_half.average_precision == 2 / 4
    assert at_half.f1 == 4 / 6
    assert at_half.panoptic_quality == pytest.approx((1 + 0.75) / (2 + 0.5 + 0.5))
    assert scores.aggregated_jaccard == (4 + 3) / (4 + 4 + 4 + 1)


def test_merged_objects_count_as_one_found_at_most():
    prediction = (REFERENCE > 0).astype(int)
    scores = score_instances(prediction, REFERENCE)
    assert scores.num_predicted == 1
    assert scores.at(0.5).found == 0
    assert scores.at(0.5).panoptic_quality == 0


def test_two_halves_at_exactly_one_half_are_one_hit():
    reference = np.array([1, 1, 1, 1])
    scores = score_instances(np.array([1, 1, 2, 2]), reference, thresholds=[0.5])
    assert (scores.at(0.5).found, scores.at(0.5).invented) == (1, 1)


def test_nothing_at_all_has_no_score_and_misses_score_zero():
    empty = np.zeros((3, 3), dtype=int)
    absent = score_instances(empty, empty)
    assert np.isnan(absent.at(0.5).average_precision)
    assert np.isnan(absent.aggregated_jaccard)
    missed = score_instances(np.zeros_like(REFERENCE), REFERENCE)
    assert missed.at(0.5).panoptic_quality == missed.aggregated_jaccard == 0


def test_matches_of_images_add_up():
    one = score_instances(REFERENCE, REFERENCE).at(0.5)
    both = one + one
    assert (both.found, both.average_precision) == (6, 1)
    with pytest.raises(ValueError, match="thresholds"):
        one + score_instances(REFERENCE, REFERENCE).at(0.6)


def test_large_and_negative_object_numbers_are_renumbered():
    prediction = np.array([0, 10**9, -5, 7])[REFERENCE]
    assert score_instances(prediction, REFERENCE).at(0.9).found == 3


def test_different_shapes_are_refused():
    with pytest.raises(GridMismatchError, match="prediction has shape"):
        score_instances(REFERENCE, REFERENCE[:2])


def stardist_matching(prediction, reference, threshold):
    """StarDist's matching: assignment on the dense IoU matrix."""
    ours = [np.unique(image[image > 0]) for image in (prediction, reference)]
    iou = np.array(
        [
            [
                ((prediction == p) & (reference == r)).sum()
                / ((prediction == p) | (reference == r)).sum()
                for p in ours[0]
            ]
            for r in ours[1]
        ]
    ).reshape(len(ours[1]), len(ours[0]))
    if iou.size == 0:
        return 0
    costs = -(iou >= threshold).astype(float) - iou / (2 * min(iou.shape))
    rows, columns = linear_sum_assignment(costs)
    return int((iou[rows, columns] >= threshold).sum())


pictures = hnp.arrays(np.uint8, (6, 7), elements=st.integers(0, 4))


@given(pictures, pictures)
def test_matching_agrees_with_stardists(prediction, reference):
    scores = score_instances(prediction, reference)
    for match in scores.matches:
        expected = stardist_matching(prediction, reference, match.threshold)
        assert match.found == expected


@given(pictures, pictures)
def test_panoptic_quality_agrees_with_monai(prediction, reference):
    import torch
    from monai.metrics.panoptic_quality import compute_panoptic_quality

    if not (prediction.any() and reference.any()):
        return
    # MONAI wants dense numbers, as it takes the largest for the count of objects.
    dense = [
        torch.from_numpy(np.unique(np.append(0, image), return_inverse=True)[1][1:])
        .reshape(image.shape)
        .int()
        for image in (prediction, reference)
    ]
    theirs = compute_panoptic_quality(*dense, metric_name="pq", match_iou_threshold=0.5)
    ours = score_instances(prediction, reference).at(0.5)
    touches_half = any(
        abs(iou - 0.5) < 1e-9 for iou in _all_ious(prediction, reference)
    )
    if not touches_half:  # at exactly 0.5 MONAI wants more, StarDist and we do not
        assert ours.panoptic_quality == pytest.approx(float(theirs), abs=1e-5)


def _all_ious(prediction, reference):
    for p in np.unique(prediction[prediction > 0]):
        for r in np.unique(reference[reference > 0]):
            both = (prediction == p) & (reference == r)
            yield both.sum() / ((prediction == p) | (reference == r)).sum()
