"""Losses over overlapping regions, each seen through a sigmoid of its own.

A region is a union of classes. With p = σ(x), y whether the voxel belongs to the
region, and u = −x inside and x outside of it, a loss R(Σpy, Σp) + Σ φ(u) has for one
voxel and region the derivative

    dx = p (1 − p) (a y + b) ± φ'(u)

where a = ∂R/∂Σpy and b = ∂R/∂Σp are numbers per sample and region. Two passes over the
voxels, as for softmax; masks exist for one chunk of voxels at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX
from medseg.losses.derivatives import refuse_second_derivative
from medseg.losses.huge_pages import empty_gradient
from medseg.losses.pointwise import ChannelPart
from medseg.losses.region_sums import RegionPart, RegionSums, partial_derivatives
from medseg.losses.streaming import Chunk, scratch, stream
from medseg.losses.targets import count_labels, nonfinite_alarm


@dataclass(frozen=True)
class SigmoidParts:
    """What a loss over overlapping regions is made of."""

    regions: tuple[tuple[int, ...], ...]
    """Classes that each region is the union of."""
    num_classes: int
    """Classes that the label map may hold, with the background."""
    region: RegionPart | None = None
    """Looks at whole regions."""
    channel: ChannelPart | None = None
    """Looks at each voxel and region."""

    def membership(self, device: torch.device) -> Tensor:
        """1 where a region holds a label, shape (R, 256), float32."""
        table = torch.zeros(len(self.regions), IGNORE_INDEX + 1)
        for row, classes in zip(table, self.regions, strict=True):
            row[list(classes)] = 1
        return table.to(device)


def sigmoid_loss(logits: Tensor, target: Tensor, parts: SigmoidParts) -> Tensor:
    """The loss as a scalar, float64 for such logits, else float32.

    Args:
        logits: Shape (N, R, *spatial), one channel per region.
        target: Class indices of shape (N, *spatial); 255 is left out.
        parts: What to compute.

    Raises:
        LabelError: The target holds other indices.
    """
    apply: Callable[..., Tensor] = _SigmoidLoss.apply
    with torch.autocast(logits.device.type, enabled=False):
        return apply(logits, target, parts)


class _SigmoidLoss(torch.autograd.Function):
    """The two passes, as autograd knows them; a second derivative is refused."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, parts: SigmoidParts
    ) -> Tensor:
        flat, labels = logits.flatten(2), target.flatten(1)
        counts, ignoring = count_labels(labels, num_classes=parts.num_classes)
        sums, channel_sum = _sum_up(flat, labels, counts, parts, ignoring=ignoring)
        value = 0 * channel_sum  # NaN where a logit is no number
        ctx.by_inside = ctx.by_predicted = None
        if parts.region is not None:
            loss, inside, predicted = partial_derivatives(parts.region.loss, sums)
            value = value + parts.region.weight * loss
            ctx.by_inside = parts.region.weight * inside
            ctx.by_predicted = parts.region.weight * predicted
        if parts.channel is not None:
            over = counts.sum().clamp_min(1)
            value = value + channel_sum / over
            weights = parts.channel.channel_weights(flat.shape[1])
            ctx.by_channel = weights.to(counts.device) / over
        ctx.save_for_backward(logits, target)
        ctx.parts, ctx.ignoring = parts, ignoring
        return value.to(torch.promote_types(logits.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivative()
        logits, target = ctx.saved_tensors
        parts: SigmoidParts = ctx.parts
        flat, labels = logits.flatten(2), target.flatten(1)
        out = empty_gradient(flat)
        table = parts.membership(logits.device)
        factor = grad_outputs[0]

        def work(chunk: Chunk) -> None:
            i, voxels = chunk.sample, chunk.voxels
            s = _squash(flat[i, :, voxels], labels[i, voxels], table, ctx.ignoring)
            result = torch.zeros_like(s.p)
            if parts.region is not None:
                a, b = ctx.by_inside[i] * factor, ctx.by_predicted[i] * factor
                slope = (
                    s.p * (2 * b).to(s.p)[:, None]
                    if parts.region.squared
                    else (b.to(s.p)[:, None])
                )
                result = torch.addcmul(slope, s.member, a.to(s.p)[:, None])
                result.mul_(s.p).mul_(1 - s.p)
            if parts.channel is not None:
                away = s.sign.mul(parts.channel.term.slope(s.logits * s.sign))
                result.addcmul_(away, (ctx.by_channel * factor).to(s.p)[:, None])
            if s.valid is not None:
                result.mul_(s.valid)
            out[i, :, voxels] = result

        stream(flat, work)
        return out.view(logits.shape), None, None


@dataclass(frozen=True)
class _Squashed:
    """A chunk of voxels, R regions of B voxels."""

    logits: Tensor
    """x, float32 or float64."""
    member: Tensor
    """1 inside the region, else 0; 0 where ignored."""
    sign: Tensor
    """−1 inside the region, else 1."""
    valid: Tensor | None
    """1, or 0 for ignored voxels, shape (B,); None where none is ignored."""
    p: Tensor
    """σ(x), in scratch memory."""


def _squash(logits: Tensor, labels: Tensor, table: Tensor, ignoring: bool) -> _Squashed:  # noqa: FBT001
    dtype = torch.promote_types(logits.dtype, torch.float32)
    x, index = logits.to(dtype), labels.long()
    member = table.to(dtype).index_select(1, index)
    valid = (index != IGNORE_INDEX).to(dtype) if ignoring else None
    p = torch.sigmoid(x, out=scratch(x, name="probabilities", dtype=dtype))
    return _Squashed(x, member, 1 - 2 * member, valid, p)


def _sum_up(
    flat: Tensor, labels: Tensor, counts: Tensor, parts: SigmoidParts, *, ignoring: bool
) -> tuple[RegionSums, Tensor]:
    """The first pass: the sums of each sample and region, and of the channels."""
    num_samples, num_regions = flat.shape[:2]
    table = parts.membership(flat.device)
    weights = torch.zeros(num_regions, dtype=torch.float64)
    if parts.channel is not None:
        weights = parts.channel.channel_weights(num_regions)
    weights = weights.to(flat.device)

    def work(chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
        i, voxels = chunk.sample, chunk.voxels
        s = _squash(flat[i, :, voxels], labels[i, voxels], table, ignoring)
        counted = torch.ones_like(s.p[0]) if s.valid is None else s.valid
        channels = counts.new_zeros(())
        if parts.channel is not None:
            value = parts.channel.term.value(s.logits * s.sign)
            channels = torch.mv(value, counted).double() @ weights
        inside = (s.p * s.member).sum(1).double()
        squared = parts.region is not None and parts.region.squared
        p = s.p.square_() if squared else s.p
        channels = channels + nonfinite_alarm(s.logits)
        return inside, torch.mv(p, counted).double(), channels

    results = stream(flat, work)
    inside, predicted, channels = (
        torch.stack(column).view(num_samples, len(results) // num_samples, -1).sum(1)
        for column in zip(*results, strict=True)
    )
    reference = counts @ table[:, : parts.num_classes].double().T
    return RegionSums(inside, predicted, reference), channels.sum()
