import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.errors import GridMismatchError
from medseg.evaluation import (
    OverlapCounts,
    confusion_matrix,
    dice,
    dice_per_label,
    iou,
    overlap_counts,
)


def test_cubes_shifted_by_half_their_edge_share_an_eighth():
    a = np.zeros((8, 8, 8), dtype=bool)
    b = a.copy()
    a[:4, :4, :4] = True
    b[2:6, 2:6, 2:6] = True
    assert overlap_counts(a, b) == OverlapCounts(8, 64, 64)
    assert dice(a, b) == 1 / 8
    assert iou(a, b) == 8 / 120


def test_a_missed_structure_scores_zero_everywhere():
    missed = OverlapCounts(shared=0, predicted=0, reference=5)
    assert missed.dice == missed.iou == missed.sensitivity == missed.precision == 0
    assert missed.relative_volume_error == -1


def test_a_structure_absent_from_both_has_no_score():
    absent = OverlapCounts(0, 0, 0)
    assert np.isnan([absent.dice, absent.iou, absent.sensitivity]).all()
    assert np.isnan([absent.precision, absent.relative_volume_error]).all()


def test_a_structure_that_is_not_there_costs_dice_but_has_no_sensitivity():
    invented = OverlapCounts(shared=0, predicted=5, reference=0)
    assert invented.dice == invented.precision == 0
    assert np.isnan(invented.sensitivity)


def test_dice_per_label_tells_perfect_missed_and_absent_apart():
    reference = np.array([0, 1, 1, 2, 2, 0], dtype=np.uint8)
    prediction = np.array([0, 1, 1, 0, 0, 0], dtype=np.uint8)
    scores = dice_per_label(prediction, reference, num_classes=4)
    np.testing.assert_array_equal(scores, [1.0, 0.0, np.nan])


def test_ignored_voxels_are_not_scored():
    reference = np.array([1, 255, 255, 0], dtype=np.uint8)
    prediction = np.array([1, 1, 0, 0], dtype=np.uint8)
    assert dice_per_label(prediction, reference, num_classes=2)[0] == 1.0
    assert confusion_matrix(prediction, reference, num_classes=2).sum() == 2


def test_a_predicted_ignore_value_counts_as_background():
    reference = np.array([1, 1, 0], dtype=np.uint8)
    prediction = np.array([1, 255, 255], dtype=np.uint8)
    confusion = confusion_matrix(prediction, reference, num_classes=2)
    np.testing.assert_array_equal(confusion, [[1, 0], [1, 1]])


def test_different_shapes_are_refused():
    with pytest.raises(GridMismatchError, match=r"prediction has shape \(3,\)"):
        dice_per_label(np.zeros(3, int), np.zeros(4, int), num_classes=2)


labels = hnp.arrays(np.uint8, (4, 5, 3), elements=st.integers(0, 3))


@given(labels, labels)
def test_confusion_agrees_with_masks_for_every_union(prediction, reference):
    confusion = confusion_matrix(prediction, reference, num_classes=4)
    for members in [(1,), (2, 3), (1, 2, 3)]:
        expected = overlap_counts(
            np.isin(prediction, members), np.isin(reference, members)
        )
        assert confusion[np.ix_(members, members)].sum() == expected.shared
        assert confusion[:, members].sum() == expected.predicted
        assert confusion[members, :].sum() == expected.reference


@given(labels, labels)
def test_memory_order_does_not_matter(prediction, reference):
    expected = confusion_matrix(prediction, reference, num_classes=4)
    mixed = confusion_matrix(np.asfortranarray(prediction), reference, num_classes=4)
    np.testing.assert_array_equal(mixed, expected)


@given(labels, labels)
def test_overlap_agrees_with_simpleitk(prediction, reference):
    ours = overlap_counts(prediction == 1, reference == 1)
    if not (ours.predicted or ours.reference):
        return
    measures = SimpleITK.LabelOverlapMeasuresImageFilter()
    # SimpleITK's source is our prediction and its target our reference.
    measures.Execute(
        SimpleITK.GetImageFromArray((prediction == 1).astype(np.uint8)),
        SimpleITK.GetImageFromArray((reference == 1).astype(np.uint8)),
    )
    assert ours.dice == pytest.approx(measures.GetDiceCoefficient(), abs=1e-12)
    assert ours.iou == pytest.approx(measures.GetJaccardCoefficient(), abs=1e-12)


def test_blocks_larger_than_one_are_summed():
    reference = np.ones((1 << 20) + 7, dtype=np.uint8)
    confusion = confusion_matrix(reference, reference, num_classes=2)
    np.testing.assert_array_equal(confusion, [[0, 0], [0, reference.size]])
