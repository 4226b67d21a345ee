"""Losses added up: at several resolutions of a decoder, and of the presence head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.losses.fused import FusedLoss
from medseg.losses.targets import regions_of, subsample


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


PRESENCE_WEIGHT = 0.1
"""Of the presence term beside the segmentation loss; chosen, not tuned."""


def present(
    target: Tensor, *, num_classes: int, regions: Sequence[Sequence[int]] = ()
) -> Tensor:
    """1 where a patch holds a class, or any class of a region, else 0.

    Args:
        target: Class indices, shape (N, *spatial); 255 (ignored) counts as nothing.
        num_classes: Classes with the background.
        regions: Classes of each overlapping region; empty for one answer per class.

    Returns:
        Shape (N, L), float32.
    """
    flat = target.flatten(1)
    classes = torch.stack(
        [(flat == value).any(dim=1) for value in range(num_classes)], dim=1
    )
    if regions:
        classes = torch.stack(
            [classes[:, list(members)].any(dim=1) for members in regions], dim=1
        )
    return classes.float()


class SegmentationAndPresence(nn.Module):
    """A segmentation loss plus cross-entropy of the presence head."""

    def __init__(
        self,
        loss: nn.Module,
        *,
        num_classes: int,
        regions: Sequence[Sequence[int]] = (),
        weight: float = PRESENCE_WEIGHT,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.num_classes = num_classes
        self.regions = tuple(tuple(members) for members in regions)
        self.weight = weight

    def forward(
        self,
        outputs: tuple[Tensor | Sequence[Tensor], Tensor],
        target: Tensor,
        unannotated: Tensor | None = None,
    ) -> Tensor:
        """Both losses, weighted.

        Args:
            outputs: The segmentation logits, as `loss` takes them, and the logits of
                presence, shape (N, L).
            target: Class indices at full resolution, shape (N, *spatial).
            unannotated: As `PartialLabelLoss` takes it; whether such a class is
                present is not asked.
        """
        logits, presence = outputs[0], outputs[1].float()
        wanted = present(target, num_classes=self.num_classes, regions=self.regions)
        if unannotated is None:
            value: Tensor = self.loss(logits, target)
            extra = nn.functional.binary_cross_entropy_with_logits(presence, wanted)
            return value + self.weight * extra
        value = self.loss(logits, target, unannotated)
        unknown = (
            regions_of(unannotated, self.regions) if self.regions else unannotated
        ) & (wanted == 0)
        each = nn.functional.binary_cross_entropy_with_logits(
            presence, wanted, reduction="none"
        )
        asked = (~unknown).sum().clamp_min(1)
        return value + self.weight * torch.where(unknown, 0.0, each).sum() / asked
