"""The weight map between cells, on cells known by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, label

from medseg.errors import SettingsError
from medseg.losses import build_loss
from medseg.losses.settings import CESettings, SeparationSettings
from medseg.losses.terms import SeparationCELoss, separation_weights


def test_weights_follow_both_distances():
    cells = np.array([[1, 1, 0, 0, 0, 1]], dtype=bool)
    found = separation_weights(cells, sigma=2.0)[0]
    sums = [5, 4, 1 + 3, 2 + 2, 3 + 1, 4]
    np.testing.assert_allclose(found, [math.exp(-(s**2) / 8) for s in sums], rtol=1e-6)


def test_one_cell_alone_needs_no_separation():
    one = np.zeros((5, 5), dtype=bool)
    one[1:3] = True
    assert separation_weights(one, sigma=5.0).max() == 0


@pytest.mark.parametrize("shape", [(40, 50), (14, 15, 16)])
def test_the_map_is_that_of_whole_distance_transforms(shape):
    random = np.random.default_rng(0).random(shape)
    cells = random > 0.6
    sigma = 1.5
    numbers, count = label(cells)
    away = np.stack([distance_transform_edt(numbers != n) for n in range(1, count + 1)])
    nearest, second = np.sort(away, axis=0)[:2]
    expected = np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    found = separation_weights(cells, sigma=sigma)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_without_a_peak_it_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 2, 9, 8), generator=generator)
    target = torch.randint(0, 2, (2, 9, 8), generator=generator)
    target[0, 0] = 255
    weights = (1.0, 3.0)
    ours = SeparationCELoss(
        num_classes=2, cells=0, peak=0.0, sigma=5.0, class_weights=weights
    )
    plain = build_loss(CESettings(class_weights=weights), num_classes=2)
    torch.testing.assert_close(ours(logits, target), plain(logits, target))


def test_an_error_between_cells_costs_more_than_one_inside():
    loss = build_loss(SeparationSettings(dice_weight=0, sigma=2.0), num_classes=2)
    target = torch.zeros((1, 9, 40), dtype=torch.uint8)
    target[:, :, 5] = 1
    right = torch.stack([1.0 - target, target.float()], dim=1) * 8
    between, inside = right.clone(), right.clone()
    between[:, :, 4, 5] *= -1
    inside[:, :, 4, 30] *= -1
    assert loss(between, target) > 4 * loss(inside, target)


def test_only_ignored_voxels_cost_nothing():
    loss = build_loss(SeparationSettings(dice_weight=0), num_classes=2)
    logits = torch.randn((1, 2, 6, 6), requires_grad=True)
    value = loss(logits, torch.full((1, 6, 6), 255))
    value.backward()
    assert value == 0
    assert logits.grad.abs().sum() == 0


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(SettingsError, match="cells is class 2, expected 0 to 1;"):
        build_loss(SeparationSettings(cells=2), num_classes=2)


def test_regions_are_refused():
    with pytest.raises(SettingsError, match="overlapping regions; use ce"):
        build_loss(SeparationSettings(), num_classes=3, regions=((1, 2), (2,)))
