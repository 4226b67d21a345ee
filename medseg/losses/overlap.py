"""Losses of whole regions, computed from three sums per sample and class."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RegionSums:
    """Sums over the voxels of each sample and class, each of shape (N, L), float64."""

    inside: Tensor
    """Probability that lies inside the reference, the soft true positives Σ p t."""
    predicted: Tensor
    """Probability everywhere, Σ p, or Σ p² for the squared forms."""
    reference: Tensor
    """Voxels of the reference, Σ t."""


RegionLoss = Callable[[RegionSums], Tensor]
"""From the sums to a scalar, differentiable in the first two of them."""


@dataclass(frozen=True)
class OverlapLoss:
    """One minus soft Dice, or one minus soft Jaccard, averaged over classes.

    Dice = (2 Σpt + ε) / (Σp + Σt + δ), Jaccard = (2 Σpt + ε) / (2 (Σp + Σt − Σpt) + δ),
    as MONAI's `DiceLoss` has them.
    """

    first_class: int
    batch: bool
    skip_empty: bool
    jaccard: bool
    smooth_nr: float
    smooth_dr: float
    weights: Tensor | None

    def __call__(self, sums: RegionSums) -> Tensor:
        """The mean over samples and classes, a scalar."""
        inside, predicted, reference = (
            part[:, self.first_class :].sum(0, keepdim=True)
            if self.batch
            else part[:, self.first_class :]
            for part in (sums.inside, sums.predicted, sums.reference)
        )
        total = predicted + reference
        if self.jaccard:
            total = 2 * (total - inside)
        loss = 1 - (2 * inside + self.smooth_nr) / (total + self.smooth_dr)
        if self.weights is not None:
            loss = loss * self.weights.to(loss)[self.first_class :]
        if not self.skip_empty:
            return loss.mean()
        present = (reference > 0).to(loss)
        return (loss * present).sum() / present.sum().clamp_min(1)


def partial_derivatives(
    loss: RegionLoss, sums: RegionSums
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and its derivatives with respect to Σpt and Σp, each (N, L)."""
    with torch.enable_grad():
        inside = sums.inside.detach().requires_grad_()
        predicted = sums.predicted.detach().requires_grad_()
        value = loss(RegionSums(inside, predicted, sums.reference))
        by_inside, by_predicted = torch.autograd.grad(value, (inside, predicted))
    return value.detach(), by_inside, by_predicted
