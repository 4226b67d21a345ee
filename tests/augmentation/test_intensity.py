"""Intensity changes whose result is known."""

import pytest
import torch
from monai.transforms import AdjustContrast

from medseg.augmentation.batch import (
    change_brightness,
    change_contrast,
    change_gamma,
    change_inverted_gamma,
)

ROWS = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0], [-4.0, -1.0, 0.0, 1.0, 9.0]])


def test_brightness_multiplies_each_row_by_its_factor():
    got = change_brightness(ROWS.clone(), torch.tensor([2.0, 0.5]))
    assert torch.equal(got, ROWS * torch.tensor([[2.0], [0.5]]))


def test_less_contrast_draws_towards_the_mean():
    got = change_contrast(ROWS[:1].clone(), torch.tensor([0.5]))
    assert torch.equal(got, torch.tensor([[1.0, 1.5, 2.0, 2.5, 3.0]]))


def test_more_contrast_keeps_the_range():
    got = change_contrast(ROWS.clone(), torch.tensor([1.25, 1.25]))
    assert torch.equal(got.amin(1), ROWS.amin(1))
    assert torch.equal(got.amax(1), ROWS.amax(1))


def test_gamma_keeps_mean_and_deviation():
    got = change_gamma(ROWS.clone(), torch.tensor([0.7, 1.5]))
    assert torch.allclose(got.mean(1), ROWS.mean(1), atol=1e-6)
    assert torch.allclose(got.std(1), ROWS.std(1), atol=1e-5)
    assert (got.diff(dim=1) > 0).all()


def test_gamma_of_one_changes_nothing():
    for change in (change_gamma, change_inverted_gamma):
        got = change(ROWS.clone(), torch.ones(2))
        assert torch.allclose(got, ROWS, atol=1e-5)


def test_gamma_above_one_widens_the_bright_end():
    got = change_gamma(ROWS[:1].clone(), torch.tensor([2.0])).diff(dim=1)
    assert got[0, -1] > got[0, 0]
    inverted = change_inverted_gamma(ROWS[:1].clone(), torch.tensor([2.0]))
    assert torch.allclose(inverted.diff(dim=1), got.flip(1), atol=1e-6)


def test_constant_rows_stay_finite_and_constant():
    flat = torch.full((1, 6), 2.5)
    for change in (change_contrast, change_gamma, change_inverted_gamma):
        assert torch.equal(change(flat.clone(), torch.tensor([0.7])), flat)


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_agrees_with_monai(inverted):
    image = torch.randn((1, 9, 8, 7), generator=torch.Generator().manual_seed(0))
    change = change_inverted_gamma if inverted else change_gamma
    got = change(image.flatten()[None].clone(), torch.tensor([1.4]))
    theirs = AdjustContrast(1.4, invert_image=inverted, retain_stats=True)(image)
    assert torch.allclose(got.view_as(image), theirs.as_tensor(), atol=1e-4)
