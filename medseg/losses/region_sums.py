"""What every loss of whole regions is computed from: three sums per class."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RegionSums:
    """Sums over the voxels of each sample and class, each of shape (N, L), float64."""

    inside: Tensor
    """Probability that lies inside the reference, the soft true positives Σpt."""
    predicted: Tensor
    """Probability everywhere, Σp, or Σp² for the squared forms."""
    reference: Tensor
    """Voxels of the reference, Σt."""

    def select(self, first_class: int, *, batch: bool) -> "RegionSums":
        """The sums from a class on, (N, L'), or (1, L') summed over the batch."""
        parts = (self.inside, self.predicted, self.reference)
        chosen = [part[:, first_class:] for part in parts]
        if batch:
            chosen = [part.sum(0, keepdim=True) for part in chosen]
        return RegionSums(*chosen)


RegionLoss = Callable[[RegionSums], Tensor]
"""From the sums to a scalar, differentiable in the first two of them."""


@dataclass(frozen=True)
class RegionPart:
    """The part of a loss that looks at whole regions."""

    loss: RegionLoss
    """From sums to a scalar."""
    weight: float = 1.0
    """Factor of it in the total."""
    squared: bool = False
    """Sum p² in place of p."""


def class_mean(loss: Tensor, reference: Tensor, *, skip_empty: bool) -> Tensor:
    """Mean over samples and classes, with or without those that have no voxel.

    Args:
        loss: One value per sample and class, shape (N, L).
        reference: Voxels of the reference, shape (N, L).
        skip_empty: Leave out where the reference is empty; 0 where all are.
    """
    if not skip_empty:
        return loss.mean()
    present = (reference > 0).to(loss)
    return (loss * present).sum() / present.sum().clamp_min(1)


def partial_derivatives(
    loss: RegionLoss, sums: RegionSums
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and its derivatives with respect to Σpt and Σp, each (N, L).

    For soft Dice of one class, D = 2Σpt / (Σp + Σt), they are −2 / (Σp + Σt) and
    D / (Σp + Σt), which gives each voxel of that class (D − 2t) / (Σp + Σt).
    """
    with torch.enable_grad():
        inside = sums.inside.detach().requires_grad_()
        predicted = sums.predicted.detach().requires_grad_()
        value = loss(RegionSums(inside, predicted, sums.reference))
        by_inside, by_predicted = torch.autograd.grad(value, (inside, predicted))
    return value.detach(), by_inside, by_predicted
