"""Instance normalization: the fast way equals torch's, and keeps the layout."""

import pytest
import torch
from torch import nn

from medseg.networks.instance_norm import CHANNELS_LAST, InstanceNorm


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
