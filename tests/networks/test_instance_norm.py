"""Instance normalization: the fast way equals torch's, and keeps the layout."""

import pytest
import torch
from torch import nn

from medseg.networks.blocks import (
    CHANNELS_LAST,
    InstanceNorm,
    normalize_all_at_once,
)


@pytest.mark.parametrize("dims", [2, 3])
def test_fast_way_equals_torch_and_keeps_the_layout(dims: int) -> None:
    torch.manual_seed(0)
    reference = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims]
    ours, theirs = InstanceNorm(4), reference(4, affine=True)
    x = torch.randn(3, 4, *(6, 5, 7)[:dims]) * 3 + 10
    fast = x.to(memory_format=CHANNELS_LAST[x.dim()]).requires_grad_()
    slow = x.clone().requires_grad_()
    (ours(fast) ** 3).sum().backward()
    (theirs(slow) ** 3).sum().backward()
    assert ours(fast).is_contiguous(memory_format=CHANNELS_LAST[x.dim()])
    torch.testing.assert_close(ours(fast), theirs(slow))
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-2
    )


@pytest.mark.parametrize("shape", [(3, 4, 6, 5), (2, 4, 6, 5, 3)])
def test_the_form_for_gpus_is_the_same_and_no_view(shape):
    """With an activation in place behind it, and nothing copied for that."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight, bias = torch.rand(2, shape[1], generator=generator, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    act = torch.nn.LeakyReLU(0.01, inplace=True)
    ours = act(normalize_all_at_once(*inputs, eps=1e-5))
    theirs = act(torch.nn.functional.instance_norm(x, None, None, weight, bias))
    assert torch.allclose(ours, theirs, rtol=1e-12)
    upstream = torch.randn(shape, generator=generator, dtype=torch.float64)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-12)
    assert "CopySlices" not in type(ours.grad_fn).__name__
