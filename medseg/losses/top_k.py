"""Cross-entropy of the hardest voxels only."""

import math

import torch
from torch import Tensor, nn

from medseg.labels import IGNORE_INDEX
from medseg.losses.targets import check_shapes, nonfinite_alarm


class TopKCrossEntropyLoss(nn.Module):
    """Mean cross-entropy of the share of voxels where it is largest.

    Over the whole batch, the K = ⌈share · voxels⌉ largest −w_t log p_t are averaged;
    the others get no gradient. Voxels to ignore are not counted. As nnU-Net's
    ``TopKLoss``.

    References:
        Wu et al., 2016, arXiv:1605.06885.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        share: float,
        class_weights: tuple[float, ...] | None = None,
    ) -> None:
        """Takes the share of voxels, in (0, 1], and a weight per class."""
        super().__init__()
        self.num_classes = num_classes
        self.share = share
        self.class_weights = class_weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) for class indices (N, *spatial)."""
        check_shapes(logits, target, num_channels=self.num_classes)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = nn.functional.cross_entropy(
            logits,
            target.long(),
            weight=self._weights(logits),
            ignore_index=IGNORE_INDEX,
            reduction="none",
        )
        losses = losses[target != IGNORE_INDEX]
        if losses.numel() == 0:
            return 0 * logits.sum()
        count = math.ceil(self.share * losses.numel())
        hardest = losses.topk(count, sorted=False).values
        return hardest.mean() + nonfinite_alarm(logits)

    def _weights(self, logits: Tensor) -> Tensor | None:
        if self.class_weights is None:
            return None
        return logits.new_tensor(self.class_weights)
