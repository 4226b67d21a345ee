"""Copies between host and device, and the pinned memory that lets them overlap."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fake_gpu import FakeDispatch


class PinnedMemory:
    """Remembers which memory of the host is pinned, and keeps it from being reused."""

    def __init__(self) -> None:
        self._kept: dict[int, torch.UntypedStorage] = {}

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._kept[storage.data_ptr()] = storage
        return tensor

    def holds(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._kept


def copy_to_device(mode: "FakeDispatch", source: Tensor, *, non_blocking: bool) -> None:
    """Notes a copy from the host, and the wait where there is one."""
    mode.seen.note_upload(source.numel() * source.element_size())
    if not non_blocking:
        mode.seen.note_wait("a blocking copy to the device")
    elif not mode.pinned.holds(source):
        mode.seen.note_wait("a copy to the device from memory that is not pinned")


def copy_to_host(
    mode: "FakeDispatch", source: Tensor, *, dtype: torch.dtype, waits: bool
) -> Tensor:
    """What arrives at the host: zeros, as fake tensors have no values."""
    if waits:
        mode.seen.note_wait("a blocking copy to the host")
    return mode.pinned.add(torch.zeros(source.shape, dtype=dtype))
