"""What losses are sums of: a loss of regions, of voxels, of voxels and channels.

The last two are focal losses, with their derivatives in closed form; cross-entropy is
the focal loss with γ = 0.

References:
    Lin et al., ICCV 2017, arXiv:1708.02002 (focal loss).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medseg.labels import IGNORE_INDEX
from medseg.losses.regions import RegionLoss
from medseg.losses.targets import check_shapes, nonfinite_alarm


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
    """A loss by each voxel's true class; not for overlapping regions."""
    channel: ChannelTerm | None = None
    """A loss by each voxel and channel alone."""

    @property
    def squared(self) -> bool:
        """Regions sum p² in place of p."""
        return self.region is not None and self.region.squared


def power(base: Tensor, exponent: float) -> Tensor:
    """`base` raised to `exponent`, as a new tensor; fast for small whole exponents."""
    if exponent == 1:
        return base.clone()
    return base.square() if exponent == 2 else base**exponent


def _right_and_surprisal(u: Tensor) -> tuple[Tensor, Tensor]:
    """1 − σ(u), and log(1 + e^u) = −log(1 − σ(u)), exact also where 1 − σ is 0."""
    right = torch.neg(u).sigmoid_()
    surprisal = right.clamp_min(torch.finfo(u.dtype).tiny).log_().neg_()
    return right, torch.maximum(surprisal, u)


REACH = 4.0
"""Distances are searched up to so many sigma; beyond, a weight is below e^-8."""


class TopKCrossEntropyLoss(nn.Module):
    """Mean cross-entropy of the share of voxels where it is largest.

    Over the whole batch, the K = ⌈share · voxels⌉ largest −w_t log p_t are averaged;
    the others get no gradient. Voxels to ignore are not counted. As nnU-Net's
    ``TopKLoss``.

    References:
        Wu et al., 2016, arXiv:1605.06885.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        num_classes: int,
        share: float,
        class_weights: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.share = share
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) for class indices (N, *spatial)."""
        check_shapes(logits, target, num_channels=self.num_classes)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = self.class_weights
        if weights is not None:
            weights = weights.to(logits)
        losses = nn.functional.cross_entropy(
            logits,
            target.long(),
            weight=weights,
            ignore_index=IGNORE_INDEX,
            reduction="none",
        )
        mean_of = _hardest if losses.device.type == "cpu" else _hardest_unasked
        hardest = mean_of(losses, target != IGNORE_INDEX, share=self.share)
        return hardest + nonfinite_alarm(logits)


def _hardest(losses: Tensor, counted: Tensor, *, share: float) -> Tensor:
    """Mean of the share of losses that are largest, 0 where none counts."""
    losses = losses[counted]
    if losses.numel() == 0:
        return losses.sum()
    count = math.ceil(share * losses.numel())
    return losses.topk(count, sorted=False).values.mean()


def _hardest_unasked(losses: Tensor, counted: Tensor, *, share: float) -> Tensor:
    """The same with all of them sorted, so that a GPU is not asked how many count."""
    count = (share * counted.sum(dtype=torch.float64)).ceil()
    falling = losses.masked_fill(~counted, -math.inf).flatten().sort(descending=True)
    is_hard = torch.arange(losses.numel(), device=losses.device) < count
    total = torch.where(is_hard, falling.values, 0).sum()
    return total / count.clamp_min(1).to(total.dtype)


class SeparationCELoss(nn.Module):
    """Weighted mean of −log p_t with the weight map of the U-Net.

    w(x) = w_c(t) + w_0 exp(−(d_1 + d_2)² / 2σ²), d_1 and d_2 the distances in voxels
    from x to the nearest and to the second nearest cell, 0 inside of it. A cell is a
    connected part (4 neighbours in 2D, 6 in 3D) of one class of the target.

    The map is computed on the CPU at every call (library ``edt``), from the target as
    it was augmented, so that distances are those the network sees; cells that the
    border of the patch cuts in two count as two.

    References:
        Ronneberger et al., MICCAI 2015, arXiv:1505.04597, equation 2.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        cells: int,
        peak: float,
        sigma: float,
        class_weights: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cells = cells
        self.peak = peak
        self.sigma = sigma
        self.class_weights = class_weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) for class indices (N, *spatial)."""
        check_shapes(logits, target, num_channels=self.num_classes)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labels = target.long()
        losses = nn.functional.cross_entropy(
            logits, labels, ignore_index=IGNORE_INDEX, reduction="none"
        )
        weights = self.weights(target).to(losses)
        total = weights.sum()
        mean = (weights * losses).sum() / total.clamp_min(torch.finfo(total.dtype).tiny)
        return mean + nonfinite_alarm(logits)

    def weights(self, target: Tensor) -> Tensor:
        """The map w of a batch, float32, (N, *spatial), on the CPU; 0 if ignored."""
        labels = target.detach().cpu().numpy()
        maps = np.stack(
            [
                separation_weights(sample == self.cells, sigma=self.sigma)
                for sample in labels
            ]
        )
        table = np.zeros(IGNORE_INDEX + 1, np.float32)
        table[: self.num_classes] = self.class_weights or 1.0
        weights = table[labels] + np.float32(self.peak) * maps
        weights[labels == IGNORE_INDEX] = 0
        return torch.from_numpy(weights)


def separation_weights(cells: np.ndarray, *, sigma: float) -> np.ndarray:
    """exp(−(d_1 + d_2)² / 2σ²) of every voxel, float32; 0 where there is one cell.

    Args:
        cells: Boolean mask of two or three axes whose connected parts are the cells.
        sigma: Width in voxels.
    """
    import cc3d
    import edt

    inside = np.ascontiguousarray(cells)
    if cells.ndim == 2:
        numbers = cc3d.connected_components(inside, connectivity=4)
    else:
        numbers = cc3d.connected_components(inside, connectivity=6)
    reach = math.ceil(REACH * sigma)
    nearest = np.full(cells.shape, np.inf, np.float32)
    second = nearest.copy()
    for number, found in enumerate(cc3d.statistics(numbers)["bounding_boxes"]):
        if number == 0:
            continue
        box = tuple(
            slice(max(0, part.start - reach), part.stop + reach) for part in found
        )
        away = edt.edt(np.ascontiguousarray(numbers[box] != number))
        np.minimum(second[box], np.maximum(nearest[box], away), out=second[box])
        np.minimum(nearest[box], away, out=nearest[box])
    weights: np.ndarray = np.exp(-np.square(nearest + second) / (2 * sigma**2))
    return weights
