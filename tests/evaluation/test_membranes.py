"""Membranes scored by the cells that they enclose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.errors import GridMismatchError
from medseg.evaluation.partitions import (
    cells_after_thinning,
    cells_between,
    score_membranes,
)


def cross(thickness: int) -> np.ndarray:
    mask = np.zeros((41, 41), dtype=bool)
    low, high = 20 - thickness // 2, 21 + thickness // 2
    mask[low:high] = mask[:, low:high] = True
    return mask


def test_how_thick_a_membrane_is_drawn_does_not_matter():
    (thick,) = score_membranes(cross(11) * 1.0, cross(1), thresholds=[0.5])
    assert thick.scores.rand == pytest.approx(1)
    assert thick.scores.information == pytest.approx(1)


def test_a_gap_merges_cells_at_high_thresholds_only():
    probability = cross(3) * 0.9
    probability[:8] *= 0.5
    low, high = score_membranes(probability, cross(3), thresholds=[0.3, 0.6])
    assert low.scores.rand == pytest.approx(1)
    assert high.scores.rand_merge < high.scores.rand_split == pytest.approx(1)
    assert [low.threshold, high.threshold] == [0.3, 0.6]


@given(hnp.arrays(bool, (12, 12), elements=st.booleans()))
def test_thinning_keeps_every_cell_and_moves_none(membrane):
    before, after = cells_between(membrane), cells_after_thinning(membrane)
    np.testing.assert_array_equal(after[~membrane], before[~membrane])
    beside = np.pad(after, 1)
    for axis in (0, 1):
        a, b = after, np.roll(beside, 1, axis)[1:-1, 1:-1]
        assert not ((a != b) & (a > 0) & (b > 0)).any()


def test_lines_of_one_pixel_are_left():
    expected = cross(1)
    expected[20, 20] = False  # four cells meet; the line needs no centre
    np.testing.assert_array_equal(cells_after_thinning(cross(7)) == 0, expected)


def test_volumes_are_refused():
    with pytest.raises(GridMismatchError, match=r"expected two slices \(I, J\)"):
        score_membranes(np.zeros((4, 4, 1)), np.zeros((4, 4, 1), dtype=bool))
