"""Indices whose values are not known: masks, and tensors of the host."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

if TYPE_CHECKING:
    from fake_gpu import FakeDispatch

SHARE_TRUE = 50
"""Of a mask on the device one value in so many is taken to be true."""


def without_masks(
    mode: "FakeDispatch", name: str, args: Sequence[Any]
) -> tuple[Any, ...]:
    """Arguments of an indexing operation with fake indices of a known size.

    A mask makes the host wait for the number of true values; an index of the host is
    copied to the device.
    """
    image, indices, *rest = args
    found: list[Tensor | None] = []
    for index in indices:
        if index is None or not isinstance(index, Tensor):
            found.append(index)
        elif index.dtype in (torch.bool, torch.uint8):
            places = _places_of(mode, name, index, like=image)
            found += [places] * index.dim()
            rest = [_as_many(mode, part, len(places)) for part in rest]
        elif isinstance(image, FakeTensor) and not isinstance(index, FakeTensor):
            mode.seen.note_wait(f"{name} with an index of the host")
            found.append(mode.make(index.shape, torch.int64, device=image.device))
        else:
            found.append(index)
    return (image, found, *rest)


def _places_of(
    mode: "FakeDispatch", name: str, mask: Tensor, *, like: Tensor
) -> Tensor:
    mode.seen.note_wait(f"{name} with a mask")
    if isinstance(mask, FakeTensor):
        number = max(1, mask.numel() // SHARE_TRUE)
    else:
        number = int(mask.sum())
    return mode.make((number,), torch.int64, device=like.device)


def _as_many(mode: "FakeDispatch", value: Any, number: int) -> Any:
    """Values to put at the places, one for each or one for all."""
    if not isinstance(value, FakeTensor) or value.dim() == 0:
        return value
    return mode.make((number, *value.shape[1:]), value.dtype, device=value.device)
