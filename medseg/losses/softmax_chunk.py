"""One chunk of voxels of a softmax loss: its sums, and its gradient.

All tensors of the chunk's size live in scratch memory of the thread; the few of one
number per voxel are allocated. Arithmetic is in float32, or float64 for such logits;
sums over a chunk leave as float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX
from medseg.losses.pointwise import ChannelTerm, VoxelTerm
from medseg.losses.streaming import scratch

SAFE_SUM = 1e17
"""Where the sum of a voxel's exponentials lies between this and its inverse, they are
exact enough without subtracting the largest logit first: the logarithm is below 40,
so that float32 errs by 2e-6."""


@dataclass(frozen=True)
class Softened:
    """The softmax of a chunk, before its division by the sum."""

    logits: Tensor
    """z, shape (L, B), float32 or float64; a view where it already was."""
    index: Tensor
    """True class of each voxel, shape (B,), int64; any class where ignored."""
    valid: Tensor | None
    """1, or 0 for ignored voxels, shape (B,); None where none is ignored."""
    exponentials: Tensor
    """exp(z − h), shape (L, B), in scratch memory."""
    shift: Tensor | None
    """h, the largest logit of each voxel, shape (B,); None for 0."""
    total: Tensor
    """Sum of the exponentials, shape (B,)."""
    inverse: Tensor
    """Its inverse, 0 where ignored, shape (B,)."""


def soften(logits: Tensor, labels: Tensor, *, ignoring: bool) -> Softened:
    """The softmax of a chunk.

    Args:
        logits: Shape (L, B), any floating type.
        labels: Shape (B,), any integer type.
        ignoring: Some labels may be `IGNORE_INDEX`.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    z, index, valid = logits.to(dtype), labels.long(), None
    if ignoring:
        ignored = index == IGNORE_INDEX
        index, valid = index.masked_fill(ignored, 0), (~ignored).to(dtype)
    exponentials = torch.exp(z, out=scratch(z, name="exponentials", dtype=dtype))
    total, shift = exponentials.sum(0), None
    if not _is_safe(total):
        shift = z.amax(0)
        total = torch.sub(z, shift, out=exponentials).exp_().sum(0)
    inverse = total.reciprocal()
    if valid is not None:
        inverse.mul_(valid)
    return Softened(z, index, valid, exponentials, shift, total, inverse)


def log_of_truth(s: Softened) -> Tensor:
    """Log-probability of each voxel's true class, shape (B,)."""
    log_p = s.logits.gather(0, s.index[None])[0]
    if s.shift is not None:
        log_p.sub_(s.shift)
    return log_p.sub_(s.total.log()).clamp_max_(0)


def truth(s: Softened) -> Tensor:
    """Probability of each voxel's true class, 0 where ignored, shape (B,)."""
    return s.exponentials.gather(0, s.index[None])[0].mul_(s.inverse)


def _is_safe(total: Tensor) -> bool:
    """Whether the chunk may do without the largest logit; a GPU is not asked."""
    if total.device.type != "cpu":
        return False
    low, high = total.aminmax()
    return low.item() > 1 / SAFE_SUM and high.item() < SAFE_SUM


def voxel_sum(
    s: Softened, term: VoxelTerm, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum of a voxel term over the chunk, weighed by class; and what `truth` gives."""
    log_p = log_of_truth(s)
    p, value = log_p.exp(), term.value(log_p)
    if weights is not None:
        value.mul_(weights.to(value).index_select(0, s.index))
    if s.valid is not None:
        value.mul_(s.valid)
        p.mul_(s.valid)
    return value.sum(dtype=torch.float64), p


def region_sums(s: Softened, p: Tensor, *, squared: bool) -> tuple[Tensor, Tensor]:
    """Σpt and Σp (or Σp²) of each class, both (L,), float64; uses up the chunk.

    Args:
        s: The chunk.
        p: Probability of each voxel's true class, shape (B,).
        squared: Sum p².
    """
    inside = torch.zeros(s.logits.shape[0], dtype=torch.float64, device=p.device)
    inside.index_add_(0, s.index, p.double())
    if squared:
        predicted = torch.mv(s.exponentials.square_(), s.inverse.square())
    else:
        predicted = torch.mv(s.exponentials, s.inverse)
    return inside, predicted.double()


def channel_sum(s: Softened, term: ChannelTerm, weights: Tensor) -> Tensor:
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
    s: Softened,
    slopes: Slopes,
    out: Tensor,
    *,
    squared: bool,
    voxel: VoxelTerm | None,
    channel: ChannelTerm | None,
) -> None:
    """Writes the gradient of a chunk to `out`, shape (L, B); uses up the chunk."""
    result = out
    if out.dtype != s.inverse.dtype:
        result = scratch(s.logits, name="gradient", dtype=s.inverse.dtype)
    pull = _pull(s, slopes, voxel)
    if slopes.by_predicted is None:
        torch.mul(s.exponentials, (pull * s.inverse).neg_(), out=result)
    elif squared:
        _push_squared(s, slopes.by_predicted, pull, result)
    else:
        push = slopes.by_predicted.to(pull)
        mean = torch.mv(s.exponentials.t(), push).mul_(s.inverse).add_(pull)
        mean.mul_(s.inverse).neg_()
        torch.addr(mean.expand_as(result), push, s.inverse, out=result)
        result.mul_(s.exponentials)
    result.scatter_add_(0, s.index[None], pull[None])
    if channel is not None and slopes.channel is not None:
        _add_channel_gradient(s, channel, slopes.channel, result)
    if result is not out:
        out.copy_(result)


def _pull(s: Softened, slopes: Slopes, voxel: VoxelTerm | None) -> Tensor:
    """Derivative with respect to log p of the true class, shape (B,)."""
    p = truth(s)
    pull = torch.zeros_like(p)
    if voxel is not None and slopes.voxel is not None:
        pull = voxel.slope(p)
        pull.mul_(slopes.voxel.to(p).index_select(0, s.index))
        if s.valid is not None:
            pull.mul_(s.valid)
    if slopes.by_inside is not None:
        pull.addcmul_(slopes.by_inside.to(p).index_select(0, s.index), p)
    return pull


def _push_squared(s: Softened, slope: Tensor, pull: Tensor, result: Tensor) -> None:
    """As for Σp, where the slope 2bp of Σp² varies from voxel to voxel."""
    p = s.exponentials.mul_(s.inverse)
    torch.mul(p, (2 * slope).to(p)[:, None], out=result)
    mean = scratch(p, name="product", dtype=p.dtype)
    mean_of = torch.mul(result, p, out=mean).sum(0).add_(pull)
    result.sub_(mean_of).mul_(p)


def _add_channel_gradient(
    s: Softened, term: ChannelTerm, weights: Tensor, result: Tensor
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
