"""Losses over classes that exclude each other, streamed over the voxels.

With p = softmax(z), t the true class, and a loss R(Σpt, Σp) + Σ φ(log p_t), the chain
rule through the softmax closes to, for class k of one voxel,

    dz_k = p_k (b_k − m) + [k = t] (a_t p_t + φ'),   m = Σ_c b_c p_c + a_t p_t + φ'

where a = ∂R/∂Σpt and b = ∂R/∂Σp are numbers per sample and class. So one pass over
the voxels finds the sums, and a second one, in the backward pass, writes the gradient;
of the size of the logits nothing is kept in between but the logits themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medseg.losses.derivatives import refuse_second_derivative
from medseg.losses.huge_pages import empty_gradient
from medseg.losses.native import CROSS_ENTROPY, FOCAL, NOTHING, Terms
from medseg.losses.native_chunk import (
    can_run_natively,
    sums_natively,
    write_gradient_natively,
)
from medseg.losses.pointwise import (
    BinaryFocalTerm,
    ChannelPart,
    ChannelTerm,
    FocalTerm,
    VoxelPart,
    VoxelTerm,
)
from medseg.losses.region_sums import RegionPart, RegionSums, partial_derivatives
from medseg.losses.softmax_chunk import (
    Slopes,
    channel_sum,
    soften,
    voxel_sum,
    write_gradient,
)
from medseg.losses.streaming import Chunk, stream
from medseg.losses.targets import count_labels


@dataclass(frozen=True)
class SoftmaxParts:
    """What a loss over classes that exclude each other is made of."""

    region: RegionPart | None = None
    """Looks at whole regions."""
    voxel: VoxelPart | None = None
    """Looks at each voxel's true class."""
    channel: ChannelPart | None = None
    """Looks at each channel through a sigmoid, one against the rest."""

    @property
    def squared(self) -> bool:
        """Regions sum p² in place of p."""
        return self.region is not None and self.region.squared

    def native_terms(self) -> Terms:
        """The same for compiled code."""
        voxel = self.voxel.term if self.voxel else None
        channel = self.channel.term if self.channel else None
        gamma = getattr(voxel, "gamma", getattr(channel, "gamma", 0.0))
        return Terms(int(self.squared), _kind(voxel), _kind(channel), gamma)


def softmax_loss(logits: Tensor, target: Tensor, parts: SoftmaxParts) -> Tensor:
    """The loss as a scalar, float64 for such logits, else float32.

    Args:
        logits: Shape (N, L, *spatial), any floating type; computed in float32 or
            float64.
        target: Class indices of shape (N, *spatial); 255 is left out. Where all is
            left out, the voxels' loss is 0.
        parts: What to compute.

    Raises:
        LabelError: The target holds other indices.
    """
    apply: Callable[..., Tensor] = _SoftmaxLoss.apply
    with torch.autocast(logits.device.type, enabled=False):
        return apply(logits, target, parts)


@dataclass(frozen=True)
class _Totals:
    """Sums over all chunks, float64."""

    inside: Tensor
    predicted: Tensor
    voxel: Tensor
    channel: Tensor


class _SoftmaxLoss(torch.autograd.Function):
    """The two passes, as autograd knows them; a second derivative is refused."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, parts: SoftmaxParts
    ) -> Tensor:
        flat, labels = logits.flatten(2), target.flatten(1)
        counts, ignoring = count_labels(labels, num_classes=flat.shape[1])
        totals = _sum_up(flat, labels, parts, ignoring=ignoring)
        value, ctx.slopes = _combine(parts, totals, counts)
        ctx.save_for_backward(logits, target)
        ctx.parts, ctx.ignoring = parts, ignoring
        return value.to(torch.promote_types(logits.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivative()
        logits, target = ctx.saved_tensors
        parts: SoftmaxParts = ctx.parts
        flat, labels = logits.flatten(2), target.flatten(1)
        out = empty_gradient(flat)
        slopes = [_scaled(per_sample, grad_outputs[0]) for per_sample in ctx.slopes]
        compiled = can_run_natively(flat)
        tables = [_native_slopes(per_sample) for per_sample in slopes if compiled]
        terms = parts.native_terms()

        def work_compiled(chunk: Chunk) -> None:
            i, voxels = chunk.sample, chunk.voxels
            write_gradient_natively(
                flat[i, :, voxels],
                labels[i, voxels],
                terms,
                tables[i],
                out[i, :, voxels],
            )

        def work(chunk: Chunk) -> None:
            i, voxels = chunk.sample, chunk.voxels
            write_gradient(
                soften(
                    flat[i, :, voxels],
                    labels[i, voxels],
                    ignoring=ctx.ignoring,
                    squared=parts.squared,
                ),
                slopes[i],
                out[i, :, voxels],
                squared=parts.squared,
                voxel=parts.voxel.term if parts.voxel else None,
                channel=parts.channel.term if parts.channel else None,
            )

        stream(flat, work_compiled if compiled else work, compiled=compiled)
        return out.view(logits.shape), None, None


def _sum_up(
    flat: Tensor, labels: Tensor, parts: SoftmaxParts, *, ignoring: bool
) -> _Totals:
    """The first pass over the voxels."""
    num_samples, num_classes = flat.shape[:2]
    none = flat.new_zeros((), dtype=torch.float64)
    empty = flat.new_zeros(num_classes, dtype=torch.float64)
    voxel, channel = parts.voxel, parts.channel
    voxel_weights = _table(voxel.class_weights, flat) if voxel else None
    channel_weights = channel.channel_weights(num_classes) if channel else none
    channel_weights = channel_weights.to(flat.device)
    terms = parts.native_terms()
    voxel_table = _float_table(voxel_weights, empty, missing=1.0)
    channel_table = _float_table(
        channel_weights if channel else None, empty, missing=0.0
    )

    def work(chunk: Chunk) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        i, voxels = chunk.sample, chunk.voxels
        s = soften(
            flat[i, :, voxels],
            labels[i, voxels],
            ignoring=ignoring,
            squared=parts.squared,
        )
        at_voxels = voxel_sum(s, voxel.term, voxel_weights) if voxel else none
        at_channels = channel_sum(s, channel.term, channel_weights) if channel else none
        regions = s.region_sums() if parts.region else (empty, empty)
        return (*regions, at_voxels, at_channels)

    def work_compiled(chunk: Chunk) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        i, voxels = chunk.sample, chunk.voxels
        return sums_natively(
            flat[i, :, voxels],
            labels[i, voxels],
            terms,
            voxel_weights=voxel_table,
            channel_weights=channel_table,
        )

    compiled = can_run_natively(flat)
    results = stream(flat, work_compiled if compiled else work, compiled=compiled)
    per_sample = len(results) // num_samples
    inside, predicted, at_voxels, at_channels = (
        torch.stack(column).view(num_samples, per_sample, -1).sum(1)
        for column in zip(*results, strict=True)
    )
    return _Totals(inside, predicted, at_voxels.sum(), at_channels.sum())


def _combine(
    parts: SoftmaxParts, totals: _Totals, counts: Tensor
) -> tuple[Tensor, list[Slopes]]:
    """The loss, and its derivatives for each sample."""
    num_samples, num_classes = counts.shape
    # NaN where a logit is, also where no part of the loss looks at its voxel
    value = 0 * totals.voxel
    by_inside = by_predicted = at_voxel = at_channel = None
    if parts.region is not None:
        sums = RegionSums(totals.inside, totals.predicted, counts)
        loss, by_inside, by_predicted = partial_derivatives(parts.region.loss, sums)
        value = value + parts.region.weight * loss
        by_inside = parts.region.weight * by_inside
        by_predicted = parts.region.weight * by_predicted
    if parts.voxel is not None:
        at_voxel = _voxel_scale(parts.voxel, counts)
        value = value + at_voxel * totals.voxel
        weights = _table(parts.voxel.class_weights, counts)
        at_voxel = at_voxel * (
            counts.new_ones(num_classes) if weights is None else weights
        )
    if parts.channel is not None:
        over = counts.sum().clamp_min(1)
        value = value + totals.channel / over
        at_channel = parts.channel.channel_weights(num_classes).to(counts) / over
    return value, [
        Slopes(
            None if by_inside is None else by_inside[i],
            None if by_predicted is None else by_predicted[i],
            at_voxel,
            at_channel,
        )
        for i in range(num_samples)
    ]


def _voxel_scale(voxel: VoxelPart, counts: Tensor) -> Tensor:
    """What the sum over voxels is multiplied by to give the part of the loss."""
    if not voxel.weighted_mean:
        return voxel.weight / (counts.sum() * counts.shape[1]).clamp_min(1)
    weights = _table(voxel.class_weights, counts)
    total = counts.sum() if weights is None else (counts * weights).sum()
    return torch.where(total > 0, voxel.weight / total, 0)


def _scaled(slopes: Slopes, factor: Tensor) -> Slopes:
    """The slopes times what arrives from behind the loss."""
    parts = (slopes.by_inside, slopes.by_predicted, slopes.voxel, slopes.channel)
    return Slopes(*(None if part is None else part * factor for part in parts))


def _kind(term: VoxelTerm | ChannelTerm | None) -> int:
    """Which term compiled code is to sum up."""
    if term is None:
        return NOTHING
    return FOCAL if isinstance(term, FocalTerm | BinaryFocalTerm) else CROSS_ENTROPY


def _native_slopes(slopes: Slopes) -> Tensor:
    """Derivatives as compiled code takes them: a row each, 0 where there is none."""
    parts = (slopes.voxel, slopes.channel, slopes.by_inside, slopes.by_predicted)
    like = max((part for part in parts if part is not None), key=Tensor.numel)
    return torch.stack([_float_table(part, like, missing=0.0) for part in parts])


def _float_table(values: Tensor | None, like: Tensor, *, missing: float) -> Tensor:
    """A float32 number per class, on the device of a tensor with one per class."""
    if values is None:
        return torch.full_like(like, missing, dtype=torch.float32)
    return values.to(torch.float32).contiguous()


def _table(weights: tuple[float, ...] | None, like: Tensor) -> Tensor | None:
    if weights is None:
        return None
    return torch.tensor(weights, dtype=torch.float64, device=like.device)
