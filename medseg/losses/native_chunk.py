"""A chunk of a softmax loss worked on by compiled code, see ``softmax.c``."""

import ctypes

import torch
from torch import Tensor

from medseg.losses.native import ROOM_PER_CLASS, Terms, library
from medseg.losses.streaming import scratch

_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def can_run_natively(logits: Tensor) -> bool:
    """Whether compiled code is there and takes logits (N, L, V) like these."""
    return (
        logits.device.type == "cpu" and logits.dtype in _TYPES and library() is not None
    )


def sums_natively(
    logits: Tensor,
    labels: Tensor,
    terms: Terms,
    *,
    voxel_weights: Tensor,
    channel_weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sums of a chunk, float64.

    Args:
        logits: Shape (L, B).
        labels: Shape (B,), any integer type.
        terms: What is summed.
        voxel_weights: Weight of a voxel by its class, shape (L,), float32.
        channel_weights: Weight of each class by itself, shape (L,), float32.

    Returns:
        Σpt and Σp (or Σp²), both (L,), and the voxels' and the channels' sums.
    """
    z, bytes_ = _as_float32(logits), _as_bytes(labels)
    sums = torch.zeros(2, z.shape[0], dtype=torch.float64)
    value = torch.zeros(2, dtype=torch.float64)
    _functions().medseg_sums(
        *_sizes(z),
        bytes_.data_ptr(),
        ctypes.byref(terms),
        voxel_weights.data_ptr(),
        channel_weights.data_ptr(),
        sums[0].data_ptr(),
        sums[1].data_ptr(),
        value.data_ptr(),
        _room(z).data_ptr(),
    )
    return sums[0], sums[1], value[0], value[1]


def write_gradient_natively(
    logits: Tensor, labels: Tensor, terms: Terms, slopes: Tensor, out: Tensor
) -> None:
    """Writes the gradient of a chunk.

    Args:
        logits: Shape (L, B).
        labels: Shape (B,), any integer type.
        terms: What was summed.
        slopes: Derivatives with respect to a class's voxel term, channel term, Σpt
            and Σp (or Σp²), shape (4, L), float32.
        out: Shape (L, B), of the logits' type.
    """
    z, bytes_ = _as_float32(logits), _as_bytes(labels)
    result = out
    if out.dtype != torch.float32 or out.stride(1) != 1:
        result = scratch(z, name="gradient", dtype=torch.float32)
    _functions().medseg_gradient(
        *_sizes(z),
        bytes_.data_ptr(),
        ctypes.byref(terms),
        *(row.data_ptr() for row in slopes),
        result.data_ptr(),
        result.stride(0),
        _room(z).data_ptr(),
    )
    if result is not out:
        out.copy_(result)


def _functions() -> ctypes.CDLL:
    functions = library()
    assert functions is not None  # asked before
    return functions


def _as_float32(logits: Tensor) -> Tensor:
    if logits.dtype == torch.float32 and logits.stride(1) == 1:
        return logits
    return scratch(logits, name="logits", dtype=torch.float32).copy_(logits)


def _as_bytes(labels: Tensor) -> Tensor:
    return labels.to(torch.uint8).contiguous()


def _sizes(logits: Tensor) -> tuple[int, int, int, int]:
    return logits.data_ptr(), logits.stride(0), *logits.shape


def _room(logits: Tensor) -> Tensor:
    like = logits[:, :1].expand(-1, ROOM_PER_CLASS)
    return scratch(like, name="room", dtype=torch.float32)
