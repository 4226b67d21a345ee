"""Losses of single voxels, with their slopes.

A voxel term sees the probability of a voxel's true class; a channel term sees each
channel by itself, through a sigmoid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.losses.native_focal import binary_focal_natively


@dataclass(frozen=True)
class CrossEntropyTerm:
    """Cross-entropy over classes that exclude each other, −log p."""

    def value(self, log_p: Tensor) -> Tensor:
        """The loss of each voxel, given its true class's log-probability."""
        return log_p.neg()

    def slope(self, p: Tensor) -> Tensor:
        """Derivative with respect to log p, given p."""
        return torch.full_like(p, -1.0)


@dataclass(frozen=True)
class FocalTerm:
    """Focal loss over classes that exclude each other, −(1 − p)^γ log p.

    References:
        Lin et al., ICCV 2017, arXiv:1708.02002.
    """

    gamma: float
    """How strongly well-classified voxels are discounted."""

    def value(self, log_p: Tensor) -> Tensor:
        """The loss of each voxel, given its true class's log-probability."""
        return power(torch.expm1(log_p).neg_(), self.gamma) * log_p.neg()

    def slope(self, p: Tensor) -> Tensor:
        """Derivative with respect to log p: (1 − p)^γ (γ p log p / (1 − p) − 1)."""
        tiny = torch.finfo(p.dtype).tiny
        rest = (1 - p).clamp_min_(tiny)
        ratio = p.clamp_min(tiny).log_().mul_(p).div_(rest)
        return ratio.mul_(self.gamma).sub_(1).mul_(power(rest, self.gamma))


@dataclass(frozen=True)
class BinaryCrossEntropyTerm:
    """Binary cross-entropy of a channel: log(1 + e^u), u the logit away from truth."""

    def value(self, u: Tensor) -> Tensor:
        """The loss of each voxel and channel; u = x outside, −x inside the region."""
        return _right_and_surprise(u)[1]

    def slope(self, u: Tensor) -> Tensor:
        """Derivative with respect to u."""
        return u.sigmoid()


@dataclass(frozen=True)
class BinaryFocalTerm:
    """Focal loss of a channel: σ(u)^γ log(1 + e^u), u the logit away from truth.

    As `monai.losses.FocalLoss` without softmax.

    References:
        Lin et al., ICCV 2017, arXiv:1708.02002.
    """

    gamma: float
    """How strongly well-classified voxels are discounted."""

    def value(self, u: Tensor) -> Tensor:
        """The loss of each voxel and channel; u = x outside, −x inside the region."""
        compiled = binary_focal_natively(u, gamma=self.gamma, slope=False)
        if compiled is not None:
            return compiled
        right, surprise = _right_and_surprise(u)
        return surprise.mul_(power(right.neg_().add_(1), self.gamma))

    def slope(self, u: Tensor) -> Tensor:
        """Derivative with respect to u: σ^γ (γ (1 − σ) log(1 + e^u) + σ)."""
        compiled = binary_focal_natively(u, gamma=self.gamma, slope=True)
        if compiled is not None:
            return compiled
        right, surprise = _right_and_surprise(u)
        surprise.mul_(right).mul_(self.gamma)
        wrong = right.neg_().add_(1)
        return surprise.add_(wrong).mul_(power(wrong, self.gamma))


VoxelTerm = CrossEntropyTerm | FocalTerm
ChannelTerm = BinaryCrossEntropyTerm | BinaryFocalTerm


@dataclass(frozen=True)
class VoxelPart:
    """The part of a loss that looks at each voxel's true class."""

    term: VoxelTerm
    """Loss of one voxel."""
    weight: float = 1.0
    """Factor of it in the total."""
    class_weights: tuple[float, ...] | None = None
    """Multiplies each voxel's loss by the weight of its class."""
    weighted_mean: bool = True
    """Divide by the sum of the voxels' weights, as `torch.nn.CrossEntropyLoss`; else
    by voxels times classes, as `monai.losses.FocalLoss` with softmax."""


@dataclass(frozen=True)
class ChannelPart:
    """The part of a loss that looks at each voxel and channel: their plain mean."""

    term: ChannelTerm
    """Loss of one voxel in one channel."""
    weight: float = 1.0
    """Factor of it in the total."""
    class_weights: tuple[float, ...] | None = None
    """Multiplies each channel's loss."""
    first_class: int = 0
    """1 to leave out the background."""

    def channel_weights(self, num_channels: int) -> Tensor:
        """Weight of each channel in the mean over voxels, shape (L,), float64."""
        weights = torch.ones(num_channels, dtype=torch.float64)
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, dtype=torch.float64)
        weights[: self.first_class] = 0
        return self.weight * weights / (num_channels - self.first_class)


def power(base: Tensor, exponent: float) -> Tensor:
    """`base` to the exponent, quickly for the common small whole ones."""
    if exponent == 0:
        return torch.ones_like(base)
    if exponent == 1:
        return base
    return base.square() if exponent == 2 else base**exponent


def _right_and_surprise(u: Tensor) -> tuple[Tensor, Tensor]:
    """1 − σ(u), and log(1 + e^u) = −log(1 − σ(u)), exact also where 1 − σ is 0."""
    right = torch.neg(u).sigmoid_()
    surprise = right.clamp_min(torch.finfo(u.dtype).tiny).log_().neg_()
    return right, torch.maximum(surprise, u)
