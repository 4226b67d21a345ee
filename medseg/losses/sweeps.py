"""The two passes over the voxels that a loss needs, by PyTorch's operations.

With p = softmax(z), t the true class, and a loss R(Σpt, Σp) + Σ φ(log p_t), the chain
rule through the softmax closes to, for class k of one voxel,

    dz_k = p_k (b_k − m) + [k = t] (a_t p_t + φ'),   m = Σ_c b_c p_c + a_t p_t + φ'

where a = ∂R/∂Σpt and b = ∂R/∂Σp are numbers per sample and class. With p = σ(x), y
whether the voxel belongs to a region, and a loss R(Σpy, Σp) + Σ φ(u), it is

    dx = p (1 − p) (a y + b) ± φ'(u)

So a first pass finds the sums, and a second one, in the backward pass, writes the
gradient. Arithmetic is in float32, or in float64 for such logits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX
from medseg.losses.terms import Terms

FEW_CLASSES = 8
"""Up to here a mask of every class is quicker on a CPU than to gather and scatter."""
SAFE_SUM = 1e17
"""Where the sum of a voxel's exponentials lies between this and its inverse, they are
exact enough without subtracting the largest logit first: the logarithm is below 40,
so that float32 errs by 2e-6."""


@dataclass(frozen=True)
class Tables:
    """Numbers per channel, on the device of the logits."""

    voxel: Tensor
    """Weight of a voxel by its true class, shape (L,)."""
    channel: Tensor
    """Weight of each channel by itself, shape (L,)."""
    region: Tensor
    """Weight of each channel in the region term, shape (L,)."""
    membership: Tensor
    """1 where a region holds a label, shape (R, 256); empty for classes."""


@dataclass(frozen=True)
class Sums:
    """What the first pass finds."""

    per_channel: Tensor
    """Σpt, Σp (or Σp²) and Σt of each sample and channel, shape (3, N, L)."""
    overall: Tensor
    """Of all voxels: the voxel term, weighted; the channel term, weighted; the weights
    of voxels; voxels that are not to be ignored; 0, or NaN where a logit is NaN or +∞.
    Shape (5,)."""


@dataclass(frozen=True)
class Derivatives:
    """Derivatives of the loss that hold for all voxels of a sample, each (N, L)."""

    voxel: Tensor
    """By a voxel's own loss, given its true class."""
    channel: Tensor
    """By a channel's own loss."""
    by_inside: Tensor
    """By Σpt."""
    by_predicted: Tensor
    """By Σp or Σp²."""


def sums(logits: Tensor, labels: Tensor, terms: Terms, tables: Tables) -> Sums:
    """The first pass.

    Args:
        logits: Shape (N, L, V), any floating type.
        labels: Class indices below 256, shape (N, V), any integer type.
        terms: The loss.
        tables: Weights and regions.
    """
    chunk = _open(logits, labels, terms, tables)
    channel = _channel_sum(chunk, terms, tables)
    per_channel = chunk.region_sums(squared=terms.squared)
    voxel, weight = chunk.new_sum(), chunk.new_sum()
    if isinstance(chunk, SoftmaxChunk) and terms.voxel is not None:
        voxel, weight = _voxel_sums(chunk, terms, tables)
    overall = [voxel, channel, weight, chunk.num_valid(), chunk.alarm()]
    return Sums(torch.stack(per_channel), torch.stack(overall))


def gradient(
    logits: Tensor,
    labels: Tensor,
    terms: Terms,
    tables: Tables,
    derivatives: Derivatives,
) -> Tensor:
    """The second pass: the gradient, shape (N, L, V), float32 or float64."""
    chunk = _open(logits, labels, terms, tables)
    if isinstance(chunk, SoftmaxChunk):
        out = chunk.gradient(
            _pull(chunk, terms, derivatives),
            derivatives.by_predicted,
            squared=terms.squared,
        )
    else:
        out = chunk.gradient(
            derivatives.by_inside, derivatives.by_predicted, squared=terms.squared
        )
    if terms.channel is None:
        return out
    sign = chunk.sign()
    away = terms.channel.slope(chunk.logits * sign).mul_(sign)
    if chunk.valid is not None:
        away.mul_(chunk.valid[:, None])
    return out.addcmul_(away, derivatives.channel.to(out)[..., None])


@dataclass(frozen=True)
class SoftmaxChunk:
    """Voxels with the softmax of their logits, before its division by the sum."""

    logits: Tensor
    """z, shape (N, L, B), float32 or float64."""
    index: Tensor
    """True class of each voxel, shape (N, B), int64; any class where ignored."""
    valid: Tensor | None
    """1, or 0 for ignored voxels, shape (N, B); None where none is ignored."""
    exponentials: Tensor
    """exp(z − h), h the largest logit of a voxel, or 0; shape (N, L, B)."""
    log_truth: Tensor
    """Log-probability of each voxel's true class, shape (N, B)."""
    inverse: Tensor
    """1 / Σ exp(z − h), 0 where ignored, shape (N, B)."""
    hits: Tensor | None
    """1 at the true class, else 0, (N, L, B); None where there are many classes."""

    def new_sum(self) -> Tensor:
        """A sum that starts at zero."""
        return self.logits.new_zeros(())

    def num_valid(self) -> Tensor:
        """Voxels that are not to be ignored."""
        if self.valid is None:
            return self.logits.new_full((), float(self.index.numel()))
        return self.valid.sum()

    def alarm(self) -> Tensor:
        """0, or NaN where a logit is NaN or +∞, also where it is to be ignored."""
        return 0 * self.inverse.sum()

    def truth(self) -> Tensor:
        """Probability of each voxel's true class, 0 where ignored, shape (N, B)."""
        p = self.log_truth.exp()
        return p if self.valid is None else p.mul_(self.valid)

    def at_truth(self, table: Tensor) -> Tensor:
        """Each voxel's entry of a table (N, L) by its true class, shape (N, B)."""
        if len(table) == 1:
            return table[0].index_select(0, self.index[0])[None]
        return table.gather(1, self.index)

    def by_class(self, values: Tensor) -> Tensor:
        """Sums of numbers (N, B) over the voxels of each true class, shape (N, L)."""
        if self.hits is not None:
            return torch.matmul(self.hits, values[..., None])[..., 0]
        result = torch.zeros(self.logits.shape[:2], dtype=torch.float64)
        return result.scatter_add_(1, self.index, values.double()).to(values)

    def region_sums(self, *, squared: bool) -> list[Tensor]:
        """Σpt, Σp (or Σp²) and Σt, each (N, L); uses up the exponentials."""
        counted = torch.ones_like(self.inverse) if self.valid is None else self.valid
        p, inverse = self.exponentials, self.inverse
        if squared:
            p, inverse = p.square_(), inverse.square()
        predicted = torch.matmul(p, inverse[..., None])[..., 0]
        return [self.by_class(self.truth()), predicted, self.by_class(counted)]

    def sign(self) -> Tensor:
        """−1 at the true class, else 1, shape (N, L, B)."""
        if self.hits is not None:
            return 1 - 2 * self.hits
        minus = -torch.ones_like(self.log_truth)[:, None]
        return torch.ones_like(self.logits).scatter_(1, self.index[:, None], minus)

    def gradient(self, pull: Tensor, push: Tensor, *, squared: bool) -> Tensor:
        """p_k (b_k − m) + [k = t] pull, shape (N, L, B); uses up the exponentials.

        Args:
            pull: Derivative by log p of the true class, shape (N, B).
            push: b, derivative by Σp or Σp², shape (N, L).
            squared: In place of b it is 2bp.
        """
        push = push.to(pull)
        if squared:
            p = self.exponentials.mul_(self.inverse[:, None])
            out = p * (2 * push)[..., None]
            out.sub_((out * p).sum(1, keepdim=True).add_(pull[:, None])).mul_(p)
        else:
            mean = torch.matmul(push[:, None], self.exponentials)[:, 0]
            mean.mul_(self.inverse).add_(pull).mul_(self.inverse).neg_()
            out = torch.addcmul(mean[:, None], push[..., None], self.inverse[:, None])
            out.mul_(self.exponentials)
        if self.hits is not None:
            return out.addcmul_(self.hits, pull[:, None])
        return out.scatter_add_(1, self.index[:, None], pull[:, None])


@dataclass(frozen=True)
class SigmoidChunk:
    """Voxels with the sigmoid of each region's logit."""

    logits: Tensor
    """x, shape (N, R, B), float32 or float64."""
    member: Tensor
    """1 inside the region, else 0; 0 where ignored; shape (N, R, B)."""
    valid: Tensor | None
    """1, or 0 for ignored voxels, shape (N, B); None where none is ignored."""
    p: Tensor
    """σ(x), shape (N, R, B)."""

    def new_sum(self) -> Tensor:
        """A sum that starts at zero."""
        return self.logits.new_zeros(())

    def num_valid(self) -> Tensor:
        """Voxels that are not to be ignored."""
        if self.valid is None:
            num_voxels = self.logits.shape[0] * self.logits.shape[2]
            return self.logits.new_full((), float(num_voxels))
        return self.valid.sum()

    def alarm(self) -> Tensor:
        """0, or NaN where a logit is NaN or +∞, whose sigmoid is a harmless 1."""
        return 0 * self.logits.amax()

    def region_sums(self, *, squared: bool) -> list[Tensor]:
        """Σpy, Σp (or Σp²) and Σy, each (N, R)."""
        inside = torch.sum(self.p * self.member, -1)
        p = self.p.square() if squared else self.p
        predicted = p.sum(-1)
        if self.valid is not None:
            predicted = torch.matmul(p, self.valid[..., None])[..., 0]
        return [inside, predicted, self.member.sum(-1)]

    def sign(self) -> Tensor:
        """−1 inside the region, else 1, shape (N, R, B)."""
        return 1 - 2 * self.member

    def gradient(self, pull: Tensor, push: Tensor, *, squared: bool) -> Tensor:
        """P (1 − p) (a y + b), or 2bp in place of b; shape (N, R, B).

        Args:
            pull: a, derivative by Σpy, shape (N, R).
            push: b, derivative by Σp or Σp², shape (N, R).
            squared: In place of b it is 2bp.
        """
        p, b = self.p, push.to(self.p)[..., None]
        b = 2 * b * p if squared else b
        out = torch.addcmul(b, self.member, pull.to(p)[..., None])
        out.mul_(p).mul_(1 - p)
        return out if self.valid is None else out.mul_(self.valid[:, None])


def _open(
    logits: Tensor, labels: Tensor, terms: Terms, tables: Tables
) -> SoftmaxChunk | SigmoidChunk:
    z, valid = _in_rows(logits), None
    if labels.device.type != "cpu" or labels.max() == IGNORE_INDEX:
        valid = (labels != IGNORE_INDEX).to(z.dtype)
    if terms.sigmoid:
        table = tables.membership.to(z.dtype)
        member = table.index_select(1, labels.long().flatten())
        member = member.view(-1, *labels.shape).transpose(0, 1)
        return SigmoidChunk(z, member, valid, torch.sigmoid(z))
    return _softmax(z, labels, valid)


def _in_rows(logits: Tensor) -> Tensor:
    """Logits in float32 or float64, a channel's voxels side by side."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if logits.dtype == dtype and logits.stride(-1) == 1:
        return logits
    return torch.empty(logits.shape, dtype=dtype, device=logits.device).copy_(logits)


def _softmax(z: Tensor, labels: Tensor, valid: Tensor | None) -> SoftmaxChunk:
    index, hits = labels.long(), None
    if z.device.type != "cpu" or z.shape[1] <= FEW_CLASSES:
        classes = torch.arange(z.shape[1], dtype=labels.dtype, device=z.device)
        hits = torch.eq(labels[:, None], classes[:, None], out=torch.empty_like(z))
    if valid is not None:
        index = index.masked_fill(labels == IGNORE_INDEX, 0)
    e = z.exp()
    total, highest = e.sum(1), None
    if not _is_safe(total):
        highest = z.amax(1)
        e = torch.sub(z, highest[:, None], out=e).exp_()
        total = e.sum(1)
    log_truth = z.gather(1, index[:, None])[:, 0]
    if highest is not None:
        log_truth.sub_(highest)
    log_truth.sub_(total.log()).clamp_max_(0)
    inverse = total.reciprocal_()
    if valid is not None:
        inverse.mul_(valid)
    return SoftmaxChunk(z, index, valid, e, log_truth, inverse, hits)


def _is_safe(total: Tensor) -> bool:
    """Whether voxels may do without their largest logit; a GPU is not asked."""
    if total.device.type != "cpu":
        return False
    low, high = total.aminmax()
    return low.item() > 1 / SAFE_SUM and high.item() < SAFE_SUM


def _voxel_sums(
    chunk: SoftmaxChunk, terms: Terms, tables: Tables
) -> tuple[Tensor, Tensor]:
    """The voxel term, weighted, and the weights, each summed up."""
    assert terms.voxel is not None
    value = terms.voxel.value(chunk.log_truth)
    if terms.voxel.class_weights is None:
        if chunk.valid is not None:
            value.mul_(chunk.valid)
        return value.sum(), chunk.num_valid()
    weights = chunk.at_truth(tables.voxel.to(value)[None].expand(len(value), -1))
    if chunk.valid is not None:
        weights = weights * chunk.valid
    return torch.sum(value * weights), weights.sum()


def _channel_sum(
    chunk: SoftmaxChunk | SigmoidChunk, terms: Terms, tables: Tables
) -> Tensor:
    """The channel term, weighted and summed up."""
    if terms.channel is None:
        return chunk.new_sum()
    value = terms.channel.value(chunk.logits * chunk.sign())
    if chunk.valid is not None:
        value.mul_(chunk.valid[:, None])
    return value.sum((0, 2)) @ tables.channel.to(value)


def _pull(chunk: SoftmaxChunk, terms: Terms, derivatives: Derivatives) -> Tensor:
    """Derivative by the log-probability of the true class, shape (N, B)."""
    p = chunk.truth()
    pull = chunk.at_truth(derivatives.by_inside.to(p)).mul_(p)
    if terms.voxel is None:
        return pull
    own = terms.voxel.slope(chunk.log_truth)
    own.mul_(chunk.at_truth(derivatives.voxel.to(p)))
    if chunk.valid is not None:
        own.mul_(chunk.valid)
    return pull.add_(own)
