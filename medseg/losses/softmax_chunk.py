"""One chunk of voxels of a softmax loss by PyTorch's operations: sums and gradient.

Arithmetic is in float32, or float64 for such logits; sums over a chunk leave as
float64. `native_chunk` does the same in compiled code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX
from medseg.losses.plain_chunk import PlainSoftmax, soften_plainly
from medseg.losses.pointwise import ChannelTerm, VoxelTerm
from medseg.losses.streaming import scratch


def soften(
    logits: Tensor, labels: Tensor, *, ignoring: bool, squared: bool
) -> PlainSoftmax:
    """The softmax of a chunk.

    Args:
        logits: Shape (L, B), any floating type.
        labels: Shape (B,), any integer type.
        ignoring: Some labels may be `IGNORE_INDEX`.
        squared: Regions will sum p² in place of p.
    """
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index, valid = labels.long().contiguous(), None
    if ignoring:
        ignored = index == IGNORE_INDEX
        index, valid = index.masked_fill(ignored, 0), (~ignored).to(z.dtype)
    return soften_plainly(z, index, valid, squared=squared)


def voxel_sum(s: PlainSoftmax, term: VoxelTerm, weights: Tensor | None) -> Tensor:
    """Sum of a voxel term over the chunk, weighed by class, float64."""
    value = term.value(s.log_of_truth())
    if weights is not None:
        value.mul_(weights.to(value).index_select(0, s.index))
    if s.valid is not None:
        value.mul_(s.valid)
    return value.sum(dtype=torch.float64)


def channel_sum(s: PlainSoftmax, term: ChannelTerm, weights: Tensor) -> Tensor:
    """Sum of a channel term over the chunk, weighed by channel, float64.

    Every channel is taken as outside of its region first; then the true class's
    share is put right, so that no mask of the size of the chunk is needed.
    """
    at_true = s.logits.gather(0, s.index[None])[0]
    outside = term.value(s.logits)
    correction = term.value(-at_true) - term.value(at_true)
    correction = correction.mul_(weights.to(correction).index_select(0, s.index))
    if s.valid is None:
        per_channel = outside.sum(1).double()
    else:
        correction = correction.mul_(s.valid)
        per_channel = torch.mv(outside, s.valid).double()
    return per_channel @ weights + correction.sum(dtype=torch.float64)


@dataclass(frozen=True)
class Slopes:
    """Derivatives of the loss that hold for all voxels of a sample."""

    by_inside: Tensor | None
    """With respect to Σpt, shape (L,); None without a region part."""
    by_predicted: Tensor | None
    """With respect to Σp or Σp², shape (L,)."""
    voxel: Tensor | None
    """With respect to a voxel's term, by its class, shape (L,)."""
    channel: Tensor | None
    """With respect to a channel's term, shape (L,)."""


def write_gradient(
    s: PlainSoftmax,
    slopes: Slopes,
    out: Tensor,
    *,
    squared: bool,
    voxel: VoxelTerm | None,
    channel: ChannelTerm | None,
) -> None:
    """Writes the gradient of a chunk to `out`, shape (L, B); uses up the chunk."""
    result = out
    if out.dtype != s.logits.dtype:
        result = scratch(s.logits, name="gradient", dtype=s.logits.dtype)
    pull = _pull(s, slopes, voxel)
    s.write(result, push=slopes.by_predicted, pull=pull, squared=squared)
    if channel is not None and slopes.channel is not None:
        _add_channel_gradient(s, channel, slopes.channel, result)
    if result is not out:
        out.copy_(result)


def _pull(s: PlainSoftmax, slopes: Slopes, voxel: VoxelTerm | None) -> Tensor:
    """Derivative with respect to log p of the true class, shape (B,)."""
    p = s.truth()
    pull = torch.zeros_like(p)
    if voxel is not None and slopes.voxel is not None:
        pull = voxel.slope(p)
        pull.mul_(slopes.voxel.to(p).index_select(0, s.index))
        if s.valid is not None:
            pull.mul_(s.valid)
    if slopes.by_inside is not None:
        pull.addcmul_(slopes.by_inside.to(p).index_select(0, s.index), p)
    return pull


def _add_channel_gradient(
    s: PlainSoftmax, term: ChannelTerm, weights: Tensor, result: Tensor
) -> None:
    at_true = s.logits.gather(0, s.index[None])[0]
    weights = weights.to(at_true)
    outside = term.slope(s.logits).mul_(weights[:, None])
    correction = term.slope(-at_true).add_(term.slope(at_true)).neg_()
    correction.mul_(weights.index_select(0, s.index))
    if s.valid is not None:
        outside.mul_(s.valid)
        correction.mul_(s.valid)
    result.add_(outside).scatter_add_(0, s.index[None], correction[None])
