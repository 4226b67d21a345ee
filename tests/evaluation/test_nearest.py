import numpy as np
import pytest
from scipy import ndimage

from medseg.evaluation import nearest
from medseg.evaluation.nearest import nearest_distances

STEPS = np.diag([0.7, 1.3, 2.0])


def sets(share, seed=0, shape=(30, 28, 26)):
    random = np.random.default_rng(seed).random((2, *shape))
    return random[0] < share, random[1] < share


def expected_distances(points, targets):
    field = ndimage.distance_transform_edt(~targets, sampling=np.diag(STEPS))
    return field[points]


@pytest.mark.parametrize("small_box", [0, 1 << 16])
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3])
def test_sparse_and_dense_sets_give_the_exact_distance(monkeypatch, share, small_box):
    monkeypatch.setattr(nearest, "_SMALL_BOX", small_box)
    points, targets = sets(share)
    found = nearest_distances(points, targets, steps=STEPS)
    np.testing.assert_allclose(found, expected_distances(points, targets), rtol=1e-6)


@pytest.mark.parametrize("budget", [0.0, np.inf])
def test_far_voxels_are_answered_by_tree_or_transform_alike(monkeypatch, budget):
    monkeypatch.setattr(nearest, "_NEAR_STEPS", 0.5)
    monkeypatch.setattr(nearest, "_FAR_BUDGET", budget)
    points, targets = sets(0.001)
    found = nearest_distances(points, targets, steps=STEPS)
    np.testing.assert_allclose(found, expected_distances(points, targets), rtol=1e-6)


def test_shared_voxels_are_at_distance_zero():
    points, _ = sets(0.01)
    assert not nearest_distances(points, points, steps=STEPS).any()


def test_no_target_is_infinitely_far():
    points, _ = sets(0.01)
    found = nearest_distances(points, np.zeros_like(points), steps=STEPS)
    assert np.isinf(found).all()
    assert len(found) == points.sum()
