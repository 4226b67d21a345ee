"""A chunk of a softmax loss worked on by PyTorch's operations.

Tensors of the chunk's size live in scratch memory of the thread; the few of one number
per voxel are allocated.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.losses.streaming import scratch

SAFE_SUM = 1e17
"""Where the sum of a voxel's exponentials lies between this and its inverse, they are
exact enough without subtracting the largest logit first: the logarithm is below 40,
so that float32 errs by 2e-6."""


@dataclass(frozen=True)
class PlainSoftmax:
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
    squared: bool
    """Regions sum p² in place of p."""

    def log_of_truth(self) -> Tensor:
        """Log-probability of each voxel's true class, shape (B,)."""
        log_p = self.logits.gather(0, self.index[None])[0]
        if self.shift is not None:
            log_p.sub_(self.shift)
        return log_p.sub_(self.total.log()).clamp_max_(0)

    def truth(self) -> Tensor:
        """Probability of each voxel's true class, 0 where ignored, shape (B,)."""
        return self.exponentials.gather(0, self.index[None])[0].mul_(self.inverse)

    def region_sums(self) -> tuple[Tensor, Tensor]:
        """Σpt and Σp (or Σp²) of each class, both (L,), float64; uses up the chunk."""
        p = self.truth()
        inside = torch.zeros(self.logits.shape[0], dtype=torch.float64, device=p.device)
        inside.index_add_(0, self.index, p.double())
        if self.squared:
            e, inverse = self.exponentials.square_(), self.inverse.square()
        else:
            e, inverse = self.exponentials, self.inverse
        return inside, torch.mv(e, inverse).double()

    def write(
        self, out: Tensor, *, push: Tensor | None, pull: Tensor, squared: bool
    ) -> None:
        """Writes the gradient p_k (b_k − m) + [k = t] pull; uses up the chunk.

        Args:
            out: Shape (L, B), of the chunk's type.
            push: b, derivative with respect to Σp or Σp², shape (L,); None for 0.
            pull: Derivative with respect to log p of the true class, shape (B,).
            squared: In place of b it is 2bp.
        """
        if push is None:
            torch.mul(self.exponentials, (pull * self.inverse).neg_(), out=out)
        elif squared:
            self._write_squared(out, push.to(pull), pull)
        else:
            push = push.to(pull)
            mean = torch.mv(self.exponentials.t(), push).mul_(self.inverse).add_(pull)
            mean.mul_(self.inverse).neg_()
            torch.addr(mean.expand_as(out), push, self.inverse, out=out)
            out.mul_(self.exponentials)
        out.scatter_add_(0, self.index[None], pull[None])

    def _write_squared(self, out: Tensor, push: Tensor, pull: Tensor) -> None:
        p = self.exponentials.mul_(self.inverse)
        torch.mul(p, 2 * push[:, None], out=out)
        product = scratch(p, name="product", dtype=p.dtype)
        mean = torch.mul(out, p, out=product).sum(0).add_(pull)
        out.sub_(mean).mul_(p)


def soften_plainly(
    z: Tensor, index: Tensor, valid: Tensor | None, *, squared: bool
) -> PlainSoftmax:
    """The softmax of a chunk (L, B) of float32 or float64."""
    e = torch.exp(z, out=scratch(z, name="exponentials", dtype=z.dtype))
    total, shift = e.sum(0), None
    if not _is_safe(total):
        shift = z.amax(0)
        total = torch.sub(z, shift, out=e).exp_().sum(0)
    inverse = total.reciprocal()
    if valid is not None:
        inverse.mul_(valid)
    return PlainSoftmax(z, index, valid, e, shift, total, inverse, squared)


def _is_safe(total: Tensor) -> bool:
    """Whether the chunk may do without the largest logit; a GPU is not asked."""
    if total.device.type != "cpu":
        return False
    low, high = total.aminmax()
    return low.item() > 1 / SAFE_SUM and high.item() < SAFE_SUM
