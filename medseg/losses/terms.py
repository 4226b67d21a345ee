"""What losses are sums of: a loss of regions, of voxels, of voxels and channels.

The last two are focal losses, with their derivatives in closed form; cross-entropy is
the focal loss with γ = 0.

References:
    Lin et al., ICCV 2017, arXiv:1708.02002 (focal loss).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.losses.regions import RegionLoss


@dataclass(frozen=True)
class RegionTerm:
    """A loss that compares whole regions, such as soft Dice."""

    loss: RegionLoss
    """From sums over voxels to a number."""
    weight: float = 1.0
    """Factor of it in the total."""
    squared: bool = False
    """Sum p² in place of p."""


@dataclass(frozen=True)
class VoxelTerm:
    """Focal loss of each voxel's true class, −(1 − p)^γ log p, p from a softmax."""

    gamma: float = 0.0
    """How strongly well-classified voxels are discounted; 0 for cross-entropy."""
    weight: float = 1.0
    """Factor of it in the total."""
    class_weights: tuple[float, ...] | None = None
    """Multiplies each voxel's loss by the weight of its class."""
    weighted_mean: bool = True
    """Divide by the sum of the voxels' weights, as `torch.nn.CrossEntropyLoss`; else
    by voxels times classes, as `monai.losses.FocalLoss` with softmax."""

    def value(self, log_p: Tensor) -> Tensor:
        """The loss of each voxel, given the log-probability of its true class."""
        if self.gamma == 0:
            return -log_p
        return power(-torch.expm1(log_p), self.gamma).mul_(-log_p)

    def slope(self, log_p: Tensor) -> Tensor:
        """Derivative with respect to log p: (1 − p)^γ (γ p log p / (1 − p) − 1)."""
        if self.gamma == 0:
            return torch.full_like(log_p, -1.0)
        rest = (-torch.expm1(log_p)).clamp_min_(torch.finfo(log_p.dtype).tiny)
        ratio = (log_p.exp() * log_p.clamp_min(-1e4)).div_(rest)
        return ratio.mul_(self.gamma).sub_(1).mul_(power(rest, self.gamma))


@dataclass(frozen=True)
class ChannelTerm:
    """Focal loss of each voxel and channel through a sigmoid, averaged over all.

    σ(u)^γ log(1 + e^u), where u is the logit away from the truth: x outside of the
    region, −x inside. As `monai.losses.FocalLoss` without softmax; with γ = 0 it is
    binary cross-entropy.
    """

    gamma: float = 0.0
    """How strongly well-classified voxels are discounted; 0 for cross-entropy."""
    weight: float = 1.0
    """Factor of it in the total."""
    class_weights: tuple[float, ...] | None = None
    """Multiplies each channel's loss."""
    first_class: int = 0
    """1 to leave out the background."""

    def value(self, u: Tensor) -> Tensor:
        """The loss of each voxel and channel."""
        right, surprisal = _right_and_surprisal(u)
        if self.gamma == 0:
            return surprisal
        return surprisal.mul_(power(right.neg_().add_(1), self.gamma))

    def slope(self, u: Tensor) -> Tensor:
        """Derivative with respect to u: σ^γ (γ (1 − σ) log(1 + e^u) + σ)."""
        if self.gamma == 0:
            return u.sigmoid()
        right, surprisal = _right_and_surprisal(u)
        surprisal.mul_(right).mul_(self.gamma)
        wrong = right.neg_().add_(1)
        return surprisal.add_(wrong).mul_(power(wrong, self.gamma))


@dataclass(frozen=True)
class Terms:
    """A loss: the terms that it is the sum of, each of them optional."""

    sigmoid: bool = False
    """Channels are overlapping regions, each with a sigmoid; else classes that exclude
    each other, with a softmax."""
    region: RegionTerm | None = None
    """Compares whole regions."""
    voxel: VoxelTerm | None = None
    """Looks at each voxel's true class; not for overlapping regions."""
    channel: ChannelTerm | None = None
    """Looks at each voxel and channel by itself."""

    @property
    def squared(self) -> bool:
        """Regions sum p² in place of p."""
        return self.region is not None and self.region.squared


def power(base: Tensor, exponent: float) -> Tensor:
    """A new tensor, `base` to the exponent, quickly for the common small whole ones."""
    if exponent == 1:
        return base.clone()
    return base.square() if exponent == 2 else base**exponent


def _right_and_surprisal(u: Tensor) -> tuple[Tensor, Tensor]:
    """1 − σ(u), and log(1 + e^u) = −log(1 − σ(u)), exact also where 1 − σ is 0."""
    right = torch.neg(u).sigmoid_()
    surprisal = right.clamp_min(torch.finfo(u.dtype).tiny).log_().neg_()
    return right, torch.maximum(surprisal, u)
