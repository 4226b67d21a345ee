"""One loss at several resolutions of a decoder, and sums of losses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.losses.fused import FusedLoss
from medseg.losses.targets import subsample


class SumOfLosses(nn.Module):
    """Weighted sum of losses; one with weight 0 is not computed."""

    def __init__(self, losses: dict[str, nn.Module], weights: dict[str, float]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.weights = weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum for logits (N, L, *spatial) and class indices (N, *spatial)."""
        return weighted_sum(self, [logits], target, [1.0])


class DeepSupervisionLoss(nn.Module):
    """Weighted mean of a loss over the outputs of a deeply supervised network.

    Σ w_l loss(logits_l, target_l) / Σ w_l, where target_l is the target at the
    resolution of output l, picked by nearest neighbour. By default w_l = 2^−l, the
    scheme of nnU-Net (Isensee et al., Nature Methods 2021).
    """

    def __init__(
        self, loss: nn.Module, *, weights: Sequence[float] | None = None
    ) -> None:
        """Wraps a loss.

        Args:
            loss: Called with logits and target at each resolution.
            weights: One per output, full resolution first; outputs beyond the last
                weight are left out. None for 1, 1/2, 1/4, …
        """
        super().__init__()
        self.loss = loss
        self.weights = None if weights is None else tuple(weights)

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """The loss of one output, or the weighted mean over a list of them.

        Args:
            logits: Shape (N, L, *spatial), or a list of such, full resolution first.
            target: Class indices at full resolution, shape (N, *spatial).
        """
        if isinstance(logits, Tensor):
            return weighted_sum(self.loss, [logits], target, [1.0])
        weights = self.weights or tuple(0.5**level for level in range(len(logits)))
        pairs = [(w, z) for w, z in zip(weights, logits, strict=False) if w > 0]
        total = sum(w for w, _ in pairs)
        shares = [w / total for w, _ in pairs]
        return weighted_sum(self.loss, [z for _, z in pairs], target, shares)


def weighted_sum(
    loss: nn.Module, outputs: Sequence[Tensor], target: Tensor, weights: Sequence[float]
) -> Tensor:
    """The loss of every output times its weight, summed up.

    Args:
        loss: Called with each output, or once with all of them where it can.
        outputs: Logits of shape (N, L, *spatial), full resolution first.
        target: Class indices at full resolution, shape (N, *spatial).
        weights: One per output.
    """
    if isinstance(loss, FusedLoss):
        return loss.of_outputs(outputs, target, weights)
    if isinstance(loss, SumOfLosses):
        terms = [
            weighted_sum(
                part, outputs, target, [loss.weights[name] * w for w in weights]
            )
            for name, part in loss.losses.items()
            if loss.weights[name] > 0
        ]
    else:
        terms = [
            w * loss(_at_least_float32(z), subsample(target, tuple(z.shape[2:])))
            for w, z in zip(weights, outputs, strict=True)
        ]
    return torch.stack(terms).sum()


def _at_least_float32(logits: Tensor) -> Tensor:
    """Logits for a loss that would otherwise add up in half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
