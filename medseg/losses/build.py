"""From settings to a loss that can be called."""

import torch
from torch import Tensor, nn

from medseg.errors import SettingsError
from medseg.losses.overlap import OverlapLoss
from medseg.losses.pointwise import CrossEntropyTerm, FocalTerm
from medseg.losses.settings import (
    DiceCESettings,
    DiceFocalSettings,
    DiceSettings,
    LossSettings,
    OverlapOptions,
)
from medseg.losses.softmax import SoftmaxTerms, softmax_loss


class SoftmaxLoss(nn.Module):
    """A loss over classes that exclude each other."""

    def __init__(self, terms: SoftmaxTerms) -> None:
        """Takes what the loss is made of."""
        super().__init__()
        self.terms = terms

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) for class indices (N, *spatial)."""
        return softmax_loss(logits, target, self.terms)


def build_loss(
    settings: LossSettings,
    *,
    num_classes: int,
    regions: tuple[tuple[int, ...], ...] = (),
) -> nn.Module:
    """A loss called with logits (N, L, *spatial) and class indices (N, *spatial).

    Args:
        settings: Which loss, and its options.
        num_classes: L, the classes with the background.
        regions: Overlapping regions, each the indices whose union it is; the logits
            then have one channel per region.

    Raises:
        SettingsError: The number of class weights is not that of the classes.
    """
    if regions:
        raise SettingsError("overlapping regions are not supported yet")
    weights = settings.class_weights
    if weights is not None and len(weights) != num_classes:
        raise SettingsError(
            f"class_weights has {len(weights)} numbers, expected {num_classes}: "
            "one per class, background first"
        )
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    region = _overlap(settings, tensor)
    if isinstance(settings, DiceCESettings):
        return SoftmaxLoss(
            SoftmaxTerms(
                region=region,
                region_weight=settings.dice_weight,
                squared=settings.squared,
                voxel=CrossEntropyTerm(),
                voxel_weight=settings.ce_weight,
                weights=tensor,
            )
        )
    if isinstance(settings, DiceFocalSettings):
        return SoftmaxLoss(
            SoftmaxTerms(
                region=region,
                region_weight=settings.dice_weight,
                squared=settings.squared,
                voxel=FocalTerm(settings.gamma),
                voxel_weight=settings.focal_weight,
                weights=tensor,
                divide_by_weights=False,
            )
        )
    assert isinstance(settings, DiceSettings)
    return SoftmaxLoss(SoftmaxTerms(region=region, squared=settings.squared))


def _overlap(settings: OverlapOptions, weights: Tensor | None) -> OverlapLoss:
    return OverlapLoss(
        first_class=0 if settings.include_background else 1,
        batch=settings.batch,
        skip_empty=settings.empty == "skip",
        jaccard=settings.jaccard,
        smooth_nr=settings.smooth_nr,
        smooth_dr=settings.smooth_dr,
        weights=weights,
    )
