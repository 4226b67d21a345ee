"""MONAI's losses with MONAI's signatures, in two passes over the voxels.

Each class is MONAI's with another `forward`: where the sums over the voxels can be
found by the fused passes of ``medseg/losses``, the loss is a formula of these few
numbers (``loss_values.py``). Where a combination of arguments and inputs is not served,
or wrong, MONAI's own `forward` answers, so that values, gradients, warnings and errors
are its own.
"""

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

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = dice_ce_value(self, input, target)
        if served is not None:
            return served
        dice = dice_value(self.dice, input, target)
        if dice is None:
            return super().forward(input, target)
        ce = self.bce if input.shape[1] == 1 else self.ce
        return self.lambda_dice * dice + self.lambda_ce * ce(input, target)


class DiceFocalLoss(dice.DiceFocalLoss):
    """`monai.losses.DiceFocalLoss`; the arguments are its own."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of logits (N, L, *spatial) for a target (N, L or 1, *spatial)."""
        served = dice_focal_value(self, input, target)
        return super().forward(input, target) if served is None else served
