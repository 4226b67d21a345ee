"""Blur and low resolution against scipy and torch's own interpolation."""

import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from medseg.augmentation.spatial import (
    apply_along_axes,
    blur_matrices,
    low_resolution_matrices,
)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_blur_agrees_with_scipy_away_from_the_border():
    image = noise(1, 24, 20, 18)
    matrices = [blur_matrices(n, torch.tensor([0.8])) for n in image.shape[1:]]
    expected = ndimage.gaussian_filter(image[0].numpy(), 0.8, truncate=8)
    inner = (slice(6, -6),) * 3
    got = apply_along_axes(image, matrices)[0][inner]
    assert torch.allclose(got, torch.from_numpy(expected[inner]), atol=1e-5)


def test_blur_keeps_a_constant_up_to_the_border():
    matrices = [blur_matrices(n, torch.tensor([1.0])) for n in (7, 5)]
    flat = torch.full((1, 7, 5), 3.0)
    assert torch.allclose(apply_along_axes(flat, matrices), flat)


@pytest.mark.parametrize("share", [0.5, 0.61, 0.83, 1.0, 0.01])
@pytest.mark.parametrize(("size", "mode"), [((17, 12, 9), "tri"), ((17, 12), "bi")])
def test_low_resolution_agrees_with_interpolate(share, size, mode):
    image = noise(1, *size)
    coarse = [max(1, round(n * share)) for n in size]
    low = F.interpolate(image[None], coarse, mode="nearest-exact")
    expected = F.interpolate(low, size, mode=f"{mode}linear")[0]
    matrices = [low_resolution_matrices(n, torch.tensor([share])) for n in size]
    got = apply_along_axes(image, matrices)
    assert torch.allclose(got, expected, atol=1e-5)


def test_rows_keep_their_own_strength():
    image = noise(1, 16, 16).expand(2, -1, -1)
    both = [blur_matrices(16, torch.tensor([0.5, 1.0]))] * 2
    alone = [blur_matrices(16, torch.tensor([1.0]))] * 2
    got = apply_along_axes(image, both)
    assert torch.allclose(got[1], apply_along_axes(image[:1], alone)[0])
    assert got[0].std() > got[1].std()


def test_axis_left_out_is_left_alone():
    image = noise(1, 8, 6, 5)
    mix = torch.full((1, 6, 6), 1 / 6)
    expected = image.mean(dim=2, keepdim=True).expand_as(image)
    assert torch.allclose(apply_along_axes(image, [None, mix, None]), expected)
