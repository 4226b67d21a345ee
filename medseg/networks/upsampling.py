"""Ways to make features finer: transposed convolution, interpolation, sub-pixel."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV_TRANSPOSED, make_convolution
from medseg.networks.settings import Upsampling

LINEAR = {2: "bilinear", 3: "trilinear"}


def make_upsampling(
    kind: Upsampling,
    in_channels: int,
    out_channels: int,
    *,
    stride: Sequence[int],
    kernel_size: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """A layer from (N, C_in, *spatial) to (N, C_out, *(spatial · stride)).

    Args:
        kind: ``transposed``, ``interpolate`` or ``subpixel``.
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Factor along each axis; their number says 2D or 3D.
        kernel_size: Of a transposed convolution along strided axes; by default the
            stride, so that neighbouring outputs never overlap unevenly.
        bias: Whether to add a number per channel.
    """
    ones = (1,) * len(stride)
    if kind == "transposed":
        return make_transposed(
            in_channels, out_channels, stride=stride, kernel_size=kernel_size, bias=bias
        )
    if kind == "interpolate":
        # A 1×1 convolution and linear interpolation commute: the cheap order first.
        conv = make_convolution(in_channels, out_channels, kernel_size=ones, bias=bias)
        return nn.Sequential(conv, Interpolate(stride))
    factor = prod(stride)
    kernel = tuple(3 if step > 1 else 1 for step in stride)
    conv = make_convolution(
        in_channels, out_channels * factor, kernel_size=kernel, bias=bias
    )
    return SubpixelUpsampling(conv, stride)


def make_transposed(
    in_channels: int,
    out_channels: int,
    *,
    stride: Sequence[int],
    kernel_size: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """A transposed convolution whose output is exactly ``stride`` times as large.

    Padding p and output padding o solve s(H−1)+k−2p+o = sH, that is
    2p − o = k − s with o in {0, 1}.

    Raises:
        ValueError: The kernel is smaller than the stride and would leave holes.
    """
    kernels = [step if step == 1 else kernel_size or step for step in stride]
    if any(k < s for k, s in zip(kernels, stride, strict=True)):
        raise ValueError(
            f"upsampling kernel {kernel_size} is smaller than stride {tuple(stride)}"
        )
    excess = [k - s for k, s in zip(kernels, stride, strict=True)]
    module: nn.Module = CONV_TRANSPOSED[len(stride)](
        in_channels,
        out_channels,
        kernel_size=tuple(kernels),
        stride=tuple(stride),
        padding=tuple((e + 1) // 2 for e in excess),
        output_padding=tuple(e % 2 for e in excess),
        bias=bias,
    )
    return module


class Interpolate(nn.Module):
    """Linear interpolation by whole factors, voxel centres kept in place."""

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = [float(factor) for factor in factors]
        self.mode = LINEAR[len(factors)]

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (N, C, *(spatial · factors))."""
        return nn.functional.interpolate(
            x, scale_factor=self.factors, mode=self.mode, align_corners=False
        )


class SubpixelUpsampling(nn.Module):
    """A convolution to C·s₁·s₂… channels, which become space (pixel shuffle).

    Own code because MONAI's ``SubpixelUpsample`` knows one factor for all axes only.

    References:
        Shi et al., arXiv:1609.05158; initialisation: Aitken et al., arXiv:1707.02937.
    """

    def __init__(self, conv: nn.Module, factors: Sequence[int]) -> None:
        super().__init__()
        self.conv = conv
        self.shuffle = PixelShuffle(factors)

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (N, C, *(spatial · factors))."""
        result: Tensor = self.shuffle(self.conv(x))
        return result

    def initialize(self) -> None:
        """Gives the sub-voxels of each voxel equal weights: no checkerboard yet."""
        factor = prod(self.shuffle.factors)
        with torch.no_grad():
            weight = self.conv.weight
            assert isinstance(weight, Tensor)
            weight.copy_(weight[::factor].repeat_interleave(factor, dim=0))


class PixelShuffle(nn.Module):
    """Channels (C·s₁·s₂…) to space, in 2D or 3D, with a factor per axis."""

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C·s₁·s₂…, I, J, …) to (N, C, I·s₁, J·s₂, …)."""
        count, dims = x.shape[0], len(self.factors)
        sizes = x.shape[2:]
        x = x.reshape(count, -1, *self.factors, *sizes)
        order = [0, 1]
        for axis in range(dims):
            order += [2 + dims + axis, 2 + axis]
        shape = [n * s for n, s in zip(sizes, self.factors, strict=True)]
        return x.permute(order).reshape(count, -1, *shape)
