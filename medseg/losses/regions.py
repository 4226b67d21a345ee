"""Losses that compare whole regions: Dice, Jaccard, Tversky, generalised Dice.

All are computed from three sums over the voxels of each sample and class. Dice and
Jaccard are Tversky losses: with α = β = 1/2 and α = β = 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

VolumeWeight = Literal["square", "simple", "uniform"]


@dataclass(frozen=True)
class RegionSums:
    """Sums over the voxels of each sample and class, each of shape (..., N, L)."""

    inside: Tensor
    """Probability that lies inside the reference, the soft true positives Σpt."""
    predicted: Tensor
    """Probability everywhere, Σp, or Σp² for the squared forms."""
    reference: Tensor
    """Voxels of the reference, Σt."""

    def select(self, first_class: int, *, batch: bool) -> "RegionSums":
        """The sums from a class on, (..., N, L'), or (..., 1, L') over the batch."""
        parts = (self.inside, self.predicted, self.reference)
        chosen = [part[..., first_class:] for part in parts]
        if batch:
            chosen = [part.sum(-2, keepdim=True) for part in chosen]
        return RegionSums(*chosen)


@dataclass(frozen=True)
class TverskyLoss:
    """(1 − TI)^κ averaged over classes, TI = (TP + ε) / (TP + α FP + β FN + δ).

    TP = Σpt, FP = Σp − Σpt, FN = Σt − Σpt, as `monai.losses.TverskyLoss`. With
    α = β = 1/2 it is soft Dice (with Σp² its squared form), with α = β = 1 soft
    Jaccard, as `monai.losses.DiceLoss` has them with 2ε and 2δ; β > α makes misses
    dearer than false alarms. κ = 1 is the Tversky loss, κ < 1 the focal one, whose
    slope grows towards TI = 1 (κ = 3/4 in the paper, written there as 1/γ).

    A class without a voxel in the reference scores 1 − ε / (α Σp + δ): nearly 1 unless
    almost nothing is predicted; `skip_empty` leaves it out.

    References:
        Milletari et al., 3DV 2016, arXiv:1606.04797 (squared Dice).
        Rahman and Wang, ISVC 2016, doi:10.1007/978-3-319-50835-1_22 (Jaccard).
        Salehi et al., MLMI 2017, arXiv:1706.05721 (Tversky).
        Abraham and Khan, ISBI 2019, arXiv:1810.07842 (focal Tversky).
    """

    alpha: float = 0.5
    """Price of a false positive."""
    beta: float = 0.5
    """Price of a miss."""
    exponent: float = 1.0
    """κ."""
    first_class: int = 0
    """1 to leave out the background."""
    batch: bool = False
    """Sum over the batch before dividing."""
    skip_empty: bool = False
    """Leave classes without a reference voxel out of the mean."""
    smooth_nr: float = 1e-5
    """ε."""
    smooth_dr: float = 1e-5
    """δ."""
    class_weights: tuple[float, ...] | None = None
    """Multiplies each class's loss, background first."""

    def __call__(self, sums: RegionSums, weights: Tensor | None = None) -> Tensor:
        """The mean over samples and classes, of shape (...).

        Args:
            sums: Each of shape (..., N, L).
            weights: `class_weights` on the device, shape (L,).
        """
        s = sums.select(self.first_class, batch=self.batch)
        false_positive = s.predicted - s.inside
        missed = s.reference - s.inside
        below = s.inside + self.alpha * false_positive + self.beta * missed
        below = below + self.smooth_dr
        present = s.reference > 0
        if self.skip_empty:  # no 0 / 0 where a class is left out
            below = torch.where(present, below, 1)
        loss = 1 - (s.inside + self.smooth_nr) / below
        if self.exponent != 1:
            loss = loss.clamp_min(1e-12) ** self.exponent
        if weights is not None:
            loss = loss * weights.to(loss)[self.first_class :]
        if not self.skip_empty:
            return loss.mean((-2, -1))
        count = present.sum((-2, -1)).clamp_min(1)
        return (loss * present).sum((-2, -1)) / count


@dataclass(frozen=True)
class GeneralizedDiceLoss:
    """1 − (2 Σ_c w_c Σpt + ε) / (Σ_c w_c (Σp + Σt) + δ), averaged over samples.

    w_c = 1 / (Σt)² (``square``), 1 / Σt (``simple``) or 1 (``uniform``). A class
    without a voxel in the reference gets the largest weight of the others, as in
    `monai.losses.GeneralizedDiceLoss`; if all are empty, all weights are 0.

    References:
        Sudre et al., DLMIA 2017, arXiv:1707.03237.
    """

    volume_weight: VolumeWeight = "square"
    """How the weight falls with the volume."""
    first_class: int = 0
    """1 to leave out the background."""
    batch: bool = False
    """Sum over the batch before dividing."""
    smooth_nr: float = 1e-5
    """ε."""
    smooth_dr: float = 1e-5
    """δ."""
    class_weights: None = None
    """Classes are weighed by their volume alone."""

    def __call__(self, sums: RegionSums, weights: Tensor | None = None) -> Tensor:
        """The mean over samples, of shape (...); `weights` is None."""
        s = sums.select(self.first_class, batch=self.batch)
        weight = self._weights(s.reference)
        numerator = 2 * (weight * s.inside).sum(-1) + self.smooth_nr
        denominator = (weight * (s.predicted + s.reference)).sum(-1) + self.smooth_dr
        return (1 - numerator / denominator).mean(-1)

    def _weights(self, volume: Tensor) -> Tensor:
        if self.volume_weight == "uniform":
            return torch.ones_like(volume)
        power = 2 if self.volume_weight == "square" else 1
        weight = torch.where(volume > 0, volume.clamp_min(1) ** -power, 0)
        return torch.where(volume > 0, weight, weight.amax(-1, keepdim=True))


RegionLoss = TverskyLoss | GeneralizedDiceLoss
"""From the sums to one number for each output of a network."""


def partial_derivatives(
    loss: Callable[[RegionSums], Tensor], sums: RegionSums
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss summed up, and its derivatives by Σpt and Σp, each (..., N, L).

    For soft Dice of one class, D = 2Σpt / (Σp + Σt), they are −2 / (Σp + Σt) and
    D / (Σp + Σt), which gives each voxel of that class (D − 2t) / (Σp + Σt).
    """
    with torch.enable_grad():
        inside = sums.inside.detach().requires_grad_()
        predicted = sums.predicted.detach().requires_grad_()
        value = loss(RegionSums(inside, predicted, sums.reference)).sum()
        by_inside, by_predicted = torch.autograd.grad(value, (inside, predicted))
    return value.detach(), by_inside, by_predicted
