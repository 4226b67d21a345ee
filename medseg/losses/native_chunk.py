"""A chunk of a softmax loss worked on by compiled code."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.losses.native import ROOM_PER_CLASS, library
from medseg.losses.streaming import scratch


@dataclass(frozen=True)
class NativeSoftmax:
    """The softmax of a chunk of float32 logits whose voxels lie side by side."""

    functions: ctypes.CDLL
    """Compiled code."""
    logits: Tensor
    """z, shape (L, B), a view."""
    index: Tensor
    """True class of each voxel, shape (B,), int64; any class where ignored."""
    valid: Tensor | None
    """1, or 0 for ignored voxels, shape (B,); None where none is ignored."""
    per_voxel: Tensor
    """Highest logit, total, its inverse, z − highest and p of the true class, each of
    shape (B,)."""
    per_class: Tensor
    """Σpt and Σp (or Σp²), shape (2, L), float64."""

    def log_of_truth(self) -> Tensor:
        """Log-probability of each voxel's true class, shape (B,)."""
        return (self.per_voxel[3] - self.per_voxel[1].log()).clamp_max_(0)

    def truth(self) -> Tensor:
        """Probability of each voxel's true class, 0 where ignored, shape (B,)."""
        return self.per_voxel[4]

    def region_sums(self) -> tuple[Tensor, Tensor]:
        """Σpt and Σp (or Σp²) of each class, both (L,), float64."""
        return self.per_class[0], self.per_class[1]

    def write(
        self, out: Tensor, *, push: Tensor | None, pull: Tensor, squared: bool
    ) -> None:
        """Writes the gradient, as `PlainSoftmax.write`."""
        if push is None:
            push = torch.zeros(self.logits.shape[0])
        push = push.to(pull).contiguous()
        self.functions.medseg_gradient(
            *_sizes(self.logits),
            self.index.data_ptr(),
            self.per_voxel[0].data_ptr(),
            self.per_voxel[2].data_ptr(),
            pull.data_ptr(),
            push.data_ptr(),
            int(squared),
            out.data_ptr(),
            out.stride(0),
            _room(self.logits).data_ptr(),
        )


def can_soften_natively(logits: Tensor) -> bool:
    """Whether compiled code is there and takes logits (L, V) like these."""
    return (
        logits.device.type == "cpu"
        and logits.dtype == torch.float32
        and logits.stride(1) == 1
        and library() is not None
    )


def soften_natively(
    logits: Tensor, index: Tensor, valid: Tensor | None, *, squared: bool
) -> NativeSoftmax | None:
    """The softmax of a chunk, or None where the compiled code cannot take it."""
    functions = library()
    if functions is None or not can_soften_natively(logits):
        return None
    per_voxel = scratch(logits[:1].expand(5, -1), name="per_voxel", dtype=torch.float32)
    per_class = torch.zeros(2, logits.shape[0], dtype=torch.float64)
    functions.medseg_soften(
        *_sizes(logits),
        index.data_ptr(),
        None if valid is None else valid.data_ptr(),
        int(squared),
        *(row.data_ptr() for row in per_voxel),
        *(row.data_ptr() for row in per_class),
        _room(logits).data_ptr(),
    )
    return NativeSoftmax(functions, logits, index, valid, per_voxel, per_class)


def _sizes(logits: Tensor) -> tuple[int, int, int, int]:
    return logits.data_ptr(), logits.stride(0), *logits.shape


def _room(logits: Tensor) -> Tensor:
    like = logits[:, :1].expand(-1, ROOM_PER_CLASS)
    return scratch(like, name="room", dtype=torch.float32)
