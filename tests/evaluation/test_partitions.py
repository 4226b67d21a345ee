import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import adapted_rand_error

from medseg.errors import GridMismatchError
from medseg.evaluation.partitions import cells_between, score_partition

TWO_CELLS = np.array([[1, 1, 0, 2, 2]] * 2)


def test_the_same_partition_with_other_numbers_is_perfect():
    scores = score_partition(np.array([0, 7, 3])[TWO_CELLS], TWO_CELLS)
    assert scores.rand == scores.rand_split == scores.rand_merge == 1
    assert scores.information == pytest.approx(1)


def test_what_is_predicted_on_the_membrane_does_not_matter():
    prediction = TWO_CELLS.copy()
    prediction[:, 2] = 1
    assert score_partition(prediction, TWO_CELLS).rand == 1


def test_merged_cells_lose_pairs_and_all_information():
    scores = score_partition(np.ones_like(TWO_CELLS), TWO_CELLS)
    assert scores.rand_split == 1
    assert scores.rand_merge == 1 / 2
    assert scores.rand == pytest.approx(2 / 3)
    assert scores.information == pytest.approx(0)


def test_a_split_cell_loses_pairs():
    one = np.ones((2, 4), dtype=int)
    halves = one.copy()
    halves[:, 2:] = 2
    scores = score_partition(halves, one)
    assert (scores.rand_split, scores.rand_merge) == (1 / 2, 1)


def test_no_cell_has_no_score():
    assert math.isnan(score_partition(TWO_CELLS, np.zeros_like(TWO_CELLS)).rand)


def test_a_thin_membrane_keeps_cells_apart_even_diagonally():
    membrane = np.eye(6, dtype=bool)
    cells = cells_between(membrane)
    assert cells.max() == 2
    assert not cells[membrane].any()


def test_different_shapes_are_refused():
    with pytest.raises(GridMismatchError, match="prediction has shape"):
        score_partition(TWO_CELLS, TWO_CELLS[:1])


pictures = hnp.arrays(np.uint8, (5, 6), elements=st.integers(0, 3))


@settings(max_examples=40)
@given(pictures, pictures)
def test_rand_agrees_with_scikit_image(prediction, reference):
    if not reference.any():
        return
    # scikit-image leaves out pairs of a pixel with itself, the paper does not; many
    # copies of the picture make the difference vanish.
    copies = [np.tile(image, (100, 20)) for image in (reference, prediction)]
    error, precision, recall = adapted_rand_error(*copies)
    ours = score_partition(prediction, reference)
    assert ours.rand == pytest.approx(1 - error, abs=2e-3)
    # Its "precision" is over the reference's pairs: nothing is split.
    assert ours.rand_split == pytest.approx(precision, abs=2e-3)
    assert ours.rand_merge == pytest.approx(recall, abs=2e-3)
