"""What MONAI's losses are worth, as formulas of sums over the voxels.

Each function takes a loss of MONAI's for its arguments, and returns None where the
passes do not serve the combination, or where MONAI would raise or warn.

References:
    `monai.losses`, MONAI 1.6, says what the arguments mean.
"""

from collections.abc import Callable
from typing import Any

import torch
from monai.losses import dice, focal_loss, tversky
from torch import Tensor

from medseg.losses.regions import RegionSums
from medseg.losses.terms import ChannelTerm, VoxelTerm
from medseg.losses.voxel_sums import VoxelSums
from medseg.monai.loss_sums import Request, sums_of

OverlapLoss = dice.DiceLoss | tversky.TverskyLoss | dice.GeneralizedDiceLoss
"""MONAI's losses of whole regions."""
Formula = Callable[[Any, RegionSums], Tensor]
"""From a loss's arguments and sums to a value of each sample and channel."""


def dice_value(loss: dice.DiceLoss, logits: Tensor, target: Tensor) -> Tensor | None:
    """What `monai.losses.DiceLoss` returns."""
    return _overlap_value(loss, logits, target, _dice)


def tversky_value(
    loss: tversky.TverskyLoss, logits: Tensor, target: Tensor
) -> Tensor | None:
    """What `monai.losses.TverskyLoss` returns."""
    return _overlap_value(loss, logits, target, _tversky)


def generalized_dice_value(
    loss: dice.GeneralizedDiceLoss, logits: Tensor, target: Tensor
) -> Tensor | None:
    """What `monai.losses.GeneralizedDiceLoss` returns."""
    return _overlap_value(loss, logits, target, _generalized_dice)


def focal_value(
    loss: focal_loss.FocalLoss, logits: Tensor, target: Tensor
) -> Tensor | None:
    """What `monai.losses.FocalLoss` returns."""
    term = _softmax_focal(loss, logits) if loss.use_softmax else None
    channel = None if loss.use_softmax else _sigmoid_focal(loss, logits)
    if term is None and channel is None:
        return None
    request = Request(
        sigmoid=not loss.use_softmax,
        to_onehot_y=loss.to_onehot_y,
        voxel=term,
        channel=channel,
        ignore_index=_ignored(loss),
    )
    sums = sums_of(request, logits, target)
    if sums is None:
        return None
    total = sums.voxel if loss.use_softmax else sums.channel
    if request.ignore_index is not None:
        return (total / sums.num_valid.clamp_min(1)).float()
    return _reduced_focal(loss, total, logits).float()


def dice_ce_value(
    loss: dice.DiceCELoss, logits: Tensor, target: Tensor
) -> Tensor | None:
    """What `monai.losses.DiceCELoss` returns."""
    ce = loss.cross_entropy
    request = _overlap_request(loss.dice, logits)
    if request is None or not _overlap_weights_fit(loss.dice, logits):
        return None
    single = logits.shape[1] == 1
    weights = None if ce.weight is None else tuple(ce.weight.tolist())
    if single:
        voxel, channel = None, ChannelTerm()
        possible = loss.binary_cross_entropy.pos_weight is None
    else:
        voxel, channel = VoxelTerm(class_weights=weights), None
        possible = not request.sigmoid and ce.label_smoothing == 0
        possible = possible and (weights is None or len(weights) == logits.shape[1])
    if not possible:
        return None
    sums = sums_of(request.with_terms(voxel, channel), logits, target)
    if sums is None:
        return None
    total = sums.channel if single else sums.voxel
    if ce.reduction == "mean" and request.to_onehot_y:
        total = total / sums.voxel_weight
    elif ce.reduction == "mean":  # PyTorch weighs soft labels without a weighted mean
        total = total / sums.num_valid
    overlap = _reduced_overlap(loss.dice, _dice, sums, logits)
    return loss.lambda_dice * overlap + loss.lambda_ce * total.to(overlap.dtype)


def dice_focal_value(
    loss: dice.DiceFocalLoss, logits: Tensor, target: Tensor
) -> Tensor | None:
    """What `monai.losses.DiceFocalLoss` returns."""
    request = _overlap_request(loss.dice, logits)
    channel = _sigmoid_focal(loss.focal, logits)
    if request is None or channel is None:
        return None
    if not _overlap_weights_fit(loss.dice, logits):
        return None
    request = request.with_terms(None, channel, to_onehot_y=loss.to_onehot_y)
    sums = sums_of(request, logits, target)
    if sums is None:
        return None
    total = _reduced_focal(loss.focal, sums.channel, logits)
    overlap = _reduced_overlap(loss.dice, _dice, sums, logits)
    return loss.lambda_dice * overlap + loss.lambda_focal * total.float()


def _overlap_value(
    loss: OverlapLoss,
    logits: Tensor,
    target: Tensor,
    formula: Formula,
) -> Tensor | None:
    request = _overlap_request(loss, logits)
    if request is None or not _overlap_weights_fit(loss, logits):
        return None
    sums = sums_of(request, logits, target)
    if sums is None:
        return None
    return _reduced_overlap(loss, formula, sums, logits)


def _overlap_request(loss: OverlapLoss, logits: Tensor) -> Request | None:
    """How the loss reads its input; None where it needs more than the passes give."""
    single = logits.ndim > 1 and logits.shape[1] == 1
    if loss.sigmoid == loss.softmax or loss.other_act is not None:
        return None
    if single and (loss.softmax or loss.to_onehot_y or not loss.include_background):
        return None
    if getattr(loss, "soft_label", False) and not loss.to_onehot_y:
        return None
    return Request(
        sigmoid=loss.sigmoid,
        to_onehot_y=loss.to_onehot_y,
        squared=getattr(loss, "squared_pred", False),
        ignore_index=_ignored(loss),
    )


def _ignored(loss: OverlapLoss | focal_loss.FocalLoss) -> int | None:
    """The label to ignore, which MONAI knows from 1.6 on."""
    ignored: int | None = getattr(loss, "ignore_index", None)
    return ignored


def _overlap_weights_fit(loss: OverlapLoss, logits: Tensor) -> bool:
    """Whether MONAI would take the weights of a Dice loss."""
    return _fits(getattr(loss, "class_weight", None), _num_counted(loss, logits))


def _fits(weight: Tensor | None, num_channels: int) -> bool:
    if weight is None or num_channels == 1:
        return True
    long_enough = weight.ndim == 0 or weight.shape == (num_channels,)
    return long_enough and bool((weight >= 0).all())


def _num_counted(loss: OverlapLoss | focal_loss.FocalLoss, logits: Tensor) -> int:
    """Channels without the background, where it is left out."""
    return logits.shape[1] - (0 if loss.include_background else 1)


def _reduced_overlap(
    loss: OverlapLoss, formula: Formula, sums: VoxelSums, logits: Tensor
) -> Tensor:
    """The formula of the channels that count, of each sample or all together."""
    first = logits.shape[1] - _num_counted(loss, logits)
    return _reduced(
        loss, formula(loss, sums.regions.select(first, batch=loss.batch)), logits
    )


def _dice(loss: dice.DiceLoss, s: RegionSums) -> Tensor:
    """1 − (2 TP + ε) / (2 (TP + c FP + c FN) + δ), c = 1 for Jaccard, else 1/2."""
    share = 1.0 if loss.jaccard else 0.5
    errors = share * (s.predicted - s.inside) + share * (s.reference - s.inside)
    below = 2 * (s.inside + errors) + loss.smooth_dr
    value = 1 - (2 * s.inside + loss.smooth_nr) / below
    if loss.class_weight is None or value.shape[-1] == 1:
        return value
    return value * loss.class_weight.to(value)


def _tversky(loss: tversky.TverskyLoss, s: RegionSums) -> Tensor:
    """1 − (TP + ε) / (TP + α FP + β FN + δ)."""
    wrong = loss.alpha * (s.predicted - s.inside)
    missed = loss.beta * (s.reference - s.inside)
    below = s.inside + wrong + missed + loss.smooth_dr
    return 1 - (s.inside + loss.smooth_nr) / below


def _generalized_dice(loss: dice.GeneralizedDiceLoss, s: RegionSums) -> Tensor:
    """1 − (2 Σ w TP + ε) / (Σ w (Σp + Σt) + δ), shape (N, 1)."""
    weight: Tensor = loss.w_func(s.reference)  # type: ignore[no-untyped-call]
    empty = torch.isinf(weight)
    weight = weight.masked_fill(empty, 0)
    weight = weight + empty * weight.amax(-1, keepdim=True)
    above = 2 * (weight * s.inside).sum(-1, keepdim=True) + loss.smooth_nr
    below = (weight * (s.predicted + s.reference)).sum(-1, keepdim=True)
    return 1 - above / (below + loss.smooth_dr)


def _reduced(loss: OverlapLoss, values: Tensor, logits: Tensor) -> Tensor:
    """Values (N or 1, L) reduced as the loss wants, in at least float32."""
    values = values.to(torch.promote_types(logits.dtype, torch.float32))
    if loss.reduction == "mean":
        return values.mean()
    if loss.reduction == "sum":
        return values.sum()
    if loss.batch:
        values = values[0]
    if isinstance(loss, tversky.TverskyLoss):
        return values
    return values.view(*values.shape, *[1] * (logits.ndim - 2))


def _softmax_focal(loss: focal_loss.FocalLoss, logits: Tensor) -> VoxelTerm | None:
    """The focal term of each voxel's true class."""
    num_channels = logits.shape[1]
    if num_channels == 1 or not loss.include_background or not _has_focal_sum(loss):
        return None
    if not _focal_weights_fit(loss, logits):
        return None
    factors = torch.ones(num_channels)
    if isinstance(loss.alpha, Tensor):
        if loss.alpha.ndim == 0 or loss.alpha.shape != (num_channels,):
            return None
        factors = factors * loss.alpha.cpu()
    elif loss.alpha is not None:
        factors = factors * loss.alpha
        factors[0] = 1 - loss.alpha
    if loss.class_weight is not None:
        factors = factors * loss.class_weight.cpu()
    return VoxelTerm(float(loss.gamma), class_weights=tuple(factors.tolist()))


def _sigmoid_focal(loss: focal_loss.FocalLoss, logits: Tensor) -> ChannelTerm | None:
    """The focal term of each voxel and channel."""
    if loss.alpha is not None or loss.use_softmax or not _has_focal_sum(loss):
        return None
    num_channels = logits.shape[1]
    if num_channels == 1 and (loss.to_onehot_y or not loss.include_background):
        return None
    if not _focal_weights_fit(loss, logits):
        return None
    first = num_channels - _num_counted(loss, logits)
    weights = torch.ones(num_channels)
    if loss.class_weight is not None:
        weights[first:] *= loss.class_weight.cpu()
    return ChannelTerm(
        float(loss.gamma), class_weights=tuple(weights.tolist()), first_class=first
    )


def _has_focal_sum(loss: focal_loss.FocalLoss) -> bool:
    """Whether the loss is a sum over the voxels, and not one per sample."""
    if loss.reduction == "none" or loss.gamma < 0:
        return False
    return _ignored(loss) is None or loss.reduction == "mean"


def _focal_weights_fit(loss: focal_loss.FocalLoss, logits: Tensor) -> bool:
    weight = loss.class_weight
    if weight is None:
        return True
    number = _num_counted(loss, logits)
    if weight.ndim == 0:
        return bool(weight >= 0)
    return number > 1 and _fits(weight, number)


def _reduced_focal(loss: focal_loss.FocalLoss, total: Tensor, logits: Tensor) -> Tensor:
    """The mean over voxels and channels, or the sum of the means over voxels."""
    num_voxels = logits[0, 0].numel()
    if loss.reduction == "sum":
        return total / num_voxels
    return total / (num_voxels * len(logits) * _num_counted(loss, logits))
