"""The hardest voxels of a GPU, which is not asked how many count, are the same."""

import pytest
import torch

from medseg.losses.terms import _hardest, _hardest_unasked


@pytest.mark.parametrize("share", [0.001, 0.1, 0.33, 1.0])
@pytest.mark.parametrize("counted", [0.0, 0.01, 0.7, 1.0])
def test_both_ways_find_the_same(share: float, counted: float) -> None:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(2, 7, 6, 5, generator=generator).requires_grad_()
    mask = torch.rand(losses.shape, generator=generator) < counted
    expected, found = (
        of(losses, mask, share=share) for of in (_hardest, _hardest_unasked)
    )
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected)
    derivatives = [torch.autograd.grad(value, losses)[0] for value in (expected, found)]
    assert torch.allclose(*derivatives)
    assert not derivatives[1][~mask].any()
