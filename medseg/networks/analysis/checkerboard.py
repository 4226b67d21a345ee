"""Uneven overlap of transposed convolutions, and the patterns that it leaves.

References:
    Odena et al., "Deconvolution and checkerboard artifacts", Distill 2016,
    doi:10.23915/distill.00003.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from medseg.networks.analysis.fixed_statistics import with_fixed_statistics
from medseg.networks.network import SegmentationNetwork


@dataclass(frozen=True)
class Coverage:
    """How evenly one transposed convolution covers its output.

    Attributes:
        name: Of the layer within the network.
        kernel: Sizes along the axes.
        stride: Along the axes.
        variance: Of the number of contributions per output voxel, relative to the
            square of its mean; 0 if and only if each kernel is a multiple of its
            stride.
    """

    name: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    variance: float

    @property
    def absolute(self) -> float:
        """Variance of the number of contributions itself."""
        mean = prod(k / s for k, s in zip(self.kernel, self.stride, strict=True))
        return self.variance * mean**2

    @property
    def advice(self) -> str:
        """What to change; empty where nothing is wrong."""
        if self.variance == 0:
            return ""
        axis = next(i for i, s in enumerate(self.stride) if self.kernel[i] % s)
        kernel, stride = self.kernel[axis], self.stride[axis]
        more = -(-kernel // stride) * stride
        less = kernel // stride * stride
        use = f"{more} or {less}" if less else str(more)
        return (
            f"{self.name}: kernel {kernel}, stride {stride} leaves a pattern of "
            f"variance {self.variance:.3g} (relative): use {use}"
        )


def coverage_variance(kernel: Sequence[int], stride: Sequence[int]) -> float:
    """Relative variance of the contributions that output voxels get.

    Along one axis with k = qs + r, r of the s phases get q + 1 contributions and
    s − r get q: mean k/s, variance r(s − r)/s². Axes multiply: with c the product,
    Var c / E[c]² = Π(1 + v_a) − 1, where v_a = r(s − r)/k² for axis a.
    """
    relative = (
        (k % s) * (s - k % s) / k**2 for k, s in zip(kernel, stride, strict=True)
    )
    return prod(1 + value for value in relative) - 1


def coverages(network: nn.Module) -> list[Coverage]:
    """Coverage of every transposed convolution of a network."""
    return [
        Coverage(
            name,
            tuple(layer.kernel_size),
            tuple(layer.stride),
            coverage_variance(layer.kernel_size, layer.stride),
        )
        for name, layer in network.named_modules()
        if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d)
    ]


FAR_BEYOND = 10.0
"""Times the size of logits over noise."""


@dataclass(frozen=True)
class Pattern:
    """What repeats with the strides on a constant image.

    Attributes:
        strength: Standard deviation over the phases divided by that over noise; 0 is
            best.
        is_beyond: Whether logits of the constant image lie far beyond those of noise:
            with the statistics of noise, normalizations of a trained network enlarge
            it to what no image is, and the strength says nothing about images.
    """

    strength: float
    is_beyond: bool


def find_pattern(
    network: SegmentationNetwork, *, size: Sequence[int] | None = None, seed: int = 0
) -> Pattern:
    """How strongly a network's logits repeat with the period of its strides.

    A constant image should give constant logits. What is left of a pattern in their
    centre is compared with how much logits vary over noise. Instance and group
    normalizations keep the statistics of the noise, since those of a constant image
    are its borders'.

    Args:
        network: In the state (trained or fresh) that is of interest.
        size: Spatial size of the image; in a small one, borders count as patterns.
            None takes four strides along each axis.
        seed: Of the noise.
    """
    least = tuple(4 * step for step in network.divisor)
    size = network.core.input_size(least if size is None else tuple(size))
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters()).device
    noise = torch.randn((1, network.in_channels, *size), generator=generator)
    noise = noise.to(device)
    fixed = with_fixed_statistics(network, noise)
    with torch.no_grad():
        flat = _centre(fixed(torch.ones_like(noise)), network.divisor)
        varied = _centre(fixed(noise), network.divisor)
    spread = _deviation(varied)
    strength = float(_deviation(flat) / spread) if spread > 0 else 0.0
    size_flat, size_varied = (float(x.square().mean().sqrt()) for x in (flat, varied))
    return Pattern(strength, size_flat > FAR_BEYOND * size_varied)


def _centre(logits: Tensor, period: Sequence[int]) -> Tensor:
    """One period at the centre of the image."""
    for axis, step in enumerate(period, start=2):
        start = (logits.shape[axis] // 2) // step * step
        logits = logits.narrow(axis, start, step)
    return logits


def _deviation(logits: Tensor) -> Tensor:
    """Root mean square deviation from each channel's mean over space."""
    axes = tuple(range(2, logits.dim()))
    return (logits - logits.mean(dim=axes, keepdim=True)).square().mean().sqrt()
