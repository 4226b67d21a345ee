"""Losses over softmax classes, streamed over the voxels in one pass each way."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medseg.labels import IGNORE_INDEX
from medseg.losses.overlap import RegionLoss, RegionSums, partial_derivatives
from medseg.losses.pointwise import VoxelTerm

CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True)
class SoftmaxTerms:
    """What a loss over softmax classes is made of."""

    region: RegionLoss | None = None
    """Loss of the whole regions."""
    region_weight: float = 1.0
    """Factor of it."""
    squared: bool = False
    """The regions' sums take p² in place of p."""
    voxel: VoxelTerm | None = None
    """Loss of single voxels."""
    voxel_weight: float = 1.0
    """Factor of it."""
    weights: Tensor | None = None
    """Weight per class of the voxels' loss."""
    divide_by_weights: bool = True
    """Mean of the voxels' loss: over the sum of weights (cross-entropy), else over
    voxels times classes (focal loss, as MONAI)."""


def softmax_loss(logits: Tensor, target: Tensor, terms: SoftmaxTerms) -> Tensor:
    """The loss as a scalar; its gradient is in closed form.

    Args:
        logits: Shape (N, L, *spatial), any floating type.
        target: Class indices of shape (N, *spatial); 255 is left out.
        terms: What to compute.
    """
    with torch.autocast(logits.device.type, enabled=False):
        loss: Tensor = _Streamed.apply(logits, target, terms)  # type: ignore[no-untyped-call]
    return loss


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, terms: SoftmaxTerms
    ) -> Tensor:
        n, num_classes = logits.shape[:2]
        flat, labels = logits.flatten(2), target.flatten(1)
        counts = torch.stack(
            [torch.bincount(row, minlength=IGNORE_INDEX + 1) for row in labels]
        )[:, :num_classes]
        inside = logits.new_zeros((n, num_classes), dtype=torch.float64)
        predicted = torch.zeros_like(inside)
        voxel_sum = logits.new_zeros((), dtype=torch.float64)
        weights = terms.weights
        for i, part in _chunks(flat):
            p, t, valid = _probabilities(flat[i, :, part], labels[i, part])
            at_true = p.gather(0, t[None])[0]
            if terms.voxel is not None:
                value = terms.voxel.value(at_true, _log(at_true, flat[i, :, part], t))
                if weights is not None:
                    value = value * weights.to(value)[t]
                if valid is not None:
                    value = value * valid
                voxel_sum += value.sum(dtype=torch.float64)
            q = p.square() if terms.squared else p
            if valid is not None:
                q, at_true = q * valid, at_true * valid
            predicted[i] += q.sum(1)
            inside[i].index_add_(0, t, at_true.double())
        sums = RegionSums(inside, predicted, counts.double())
        total = logits.new_zeros((), dtype=torch.float64)
        ctx.slopes = None
        if terms.region is not None:
            value, by_inside, by_predicted = partial_derivatives(terms.region, sums)
            total = total + terms.region_weight * value
            ctx.slopes = (
                terms.region_weight * by_inside,
                terms.region_weight * by_predicted,
            )
        ctx.voxel_scale = None
        if terms.voxel is not None:
            if terms.divide_by_weights:
                over = counts.double()
                if weights is not None:
                    over = over * weights.to(over)
                scale = terms.voxel_weight / over.sum().clamp_min(1e-12)
            else:
                scale = terms.voxel_weight / (counts.sum() * num_classes).clamp_min(1)
            total = total + scale * voxel_sum
            ctx.voxel_scale = scale
        ctx.save_for_backward(logits, target)
        ctx.terms = terms
        return total.to(
            logits.dtype if logits.dtype == torch.float64 else torch.float32
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        logits, target = ctx.saved_tensors
        terms: SoftmaxTerms = ctx.terms
        gradient = torch.empty_like(logits)
        flat, labels, out = logits.flatten(2), target.flatten(1), gradient.flatten(2)
        for i, part in _chunks(flat):
            p, t, valid = _probabilities(flat[i, :, part], labels[i, part])
            at_true = p.gather(0, t[None])[0]
            pull = torch.zeros_like(at_true)
            rest: Tensor | float = 0.0
            if ctx.slopes is not None:
                a = (ctx.slopes[0][i] * grad_output).to(p)
                b = (ctx.slopes[1][i] * grad_output).to(p)[:, None]
                pull = pull + a[t] * at_true
                rest = 2 * b * p if terms.squared else b
            mean = pull + ((rest * p).sum(0) if ctx.slopes is not None else 0.0)
            if terms.voxel is not None:
                slope = terms.voxel.slope(at_true, _log(at_true, flat[i, :, part], t))
                slope = slope * (ctx.voxel_scale * grad_output).to(p)
                if terms.weights is not None:
                    slope = slope * terms.weights.to(p)[t]
                pull, mean = pull + slope, mean + slope
            result = p * (rest - mean)
            result.scatter_add_(0, t[None], pull[None])
            if valid is not None:
                result *= valid
            out[i, :, part] = result
        return gradient, None, None


def _chunks(flat: Tensor) -> list[tuple[int, slice]]:
    """Sample and run of voxels of every piece that stays in the cache."""
    length = max(1, CHUNK_ELEMENTS // flat.shape[1])
    return [
        (i, slice(start, min(start + length, flat.shape[2])))
        for i in range(flat.shape[0])
        for start in range(0, flat.shape[2], length)
    ]


def _probabilities(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Softmax of a chunk (L, B), its labels as int64, and which voxels count."""
    z = z if z.dtype == torch.float64 else z.float()
    t = t.long()
    valid = t != IGNORE_INDEX
    if bool(valid.all()):
        return z.softmax(0), t, None
    return z.softmax(0), t.masked_fill(~valid, 0), valid.to(z)


def _log(p: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """Log p, exact also where p itself underflows."""
    if bool((p > 1e-30).all()):
        return p.log()
    return z.to(p).log_softmax(0).gather(0, t[None])[0]
