"""One loss at several resolutions of a decoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
            value: Tensor = self.loss(logits, target)
            return value
        weights = self.weights or tuple(0.5**level for level in range(len(logits)))
        pairs = [(w, z) for w, z in zip(weights, logits, strict=False) if w > 0]
        terms = [
            w * self.loss(z, subsample(target, tuple(z.shape[2:]))) for w, z in pairs
        ]
        return torch.stack(terms).sum() / sum(w for w, _ in pairs)


def subsample(target: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Labels at the centre of each voxel of a coarser grid, shape (N, *shape)."""
    for axis, (old, new) in enumerate(zip(target.shape[1:], shape, strict=True), 1):
        if old != new:
            centres = (torch.arange(new, device=target.device) + 0.5) * (old / new)
            target = target.index_select(axis, centres.long())
    return target
