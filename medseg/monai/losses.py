"""MONAI's losses with MONAI's signatures, in two passes over the voxels.

Each class is MONAI's with another `forward`: where the sums over the voxels can be
found by the fused passes of ``medseg/losses``, the loss is a formula of these few
numbers (``loss_values.py``). Where a combination of arguments and inputs is not served,
or wrong, MONAI's own `forward` answers, so that values, gradients, warnings and errors
are its own.
"""

from inspect import signature
from typing import Any

from monai.losses import dice, focal_loss, tversky
from torch import Tensor

from medseg.monai.loss_values import (
    dice_ce_value,
    dice_focal_value,
    dice_value,
    focal_value,
    generalized_dice_value,
    tversky_value,
)


class DiceLoss(dice.DiceLoss):
    """`monai.losses.DiceLoss`; the arguments are its own."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = dice_value(self, input, target)
        return super().forward(input, target) if served is None else served


class TverskyLoss(tversky.TverskyLoss):
    """`monai.losses.TverskyLoss`; the arguments are its own."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = tversky_value(self, input, target)
        return super().forward(input, target) if served is None else served


class GeneralizedDiceLoss(dice.GeneralizedDiceLoss):
    """`monai.losses.GeneralizedDiceLoss`; the arguments are its own."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = generalized_dice_value(self, input, target)
        return super().forward(input, target) if served is None else served


class FocalLoss(focal_loss.FocalLoss):
    """`monai.losses.FocalLoss`; the arguments are its own."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = focal_value(self, input, target)
        return super().forward(input, target) if served is None else served


class DiceCELoss(dice.DiceCELoss):
    """`monai.losses.DiceCELoss`; the arguments are its own."""

    __signature__ = signature(dice.DiceCELoss)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dice.__class__ = DiceLoss  # where only this part can be served

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = dice_ce_value(self, input, target)
        return super().forward(input, target) if served is None else served


class DiceFocalLoss(dice.DiceFocalLoss):
    """`monai.losses.DiceFocalLoss`; the arguments are its own."""

    __signature__ = signature(dice.DiceFocalLoss)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dice.__class__ = DiceLoss  # where the parts can be served, not the sum
        self.focal.__class__ = FocalLoss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = dice_focal_value(self, input, target)
        return super().forward(input, target) if served is None else served
