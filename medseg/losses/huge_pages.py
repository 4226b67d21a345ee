"""Memory for a gradient, in huge pages where the system has them."""

import mmap
import sys

import torch
from torch import Tensor

WORTHWHILE_BYTES = 32 << 20
"""Below this the C library keeps freed memory, so that its pages are there already."""


def empty_gradient(logits: Tensor) -> Tensor:
    """An uninitialised tensor with the shape, strides and type of dense logits.

    A gradient of 100 MB touches 25,000 ordinary pages, which takes the kernel about
    as long as the loss takes to compute; huge pages are 50. Each call maps memory of
    its own, returned to the system with the tensor.
    """
    size = logits.numel() * logits.element_size()
    if (
        logits.device.type != "cpu"
        or sys.platform != "linux"
        or size < WORTHWHILE_BYTES
        or not hasattr(mmap, "MADV_HUGEPAGE")
    ):
        return torch.empty_like(logits)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without huge pages: ordinary ones then
        return torch.empty_like(logits)
    flat = torch.frombuffer(memory, dtype=logits.dtype)
    return flat.as_strided(
        logits.shape, torch.empty_like(logits, device="meta").stride()
    )
