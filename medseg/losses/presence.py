"""Loss of the presence head: whether a structure occurs in the patch at all."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.losses.partial_labels import regions_of

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
