"""Which input sizes a network accepts, found by trying, without computing if it can."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

BASES = (64, 32, 96, 128, 48, 224, 256, 16)
"""Sizes of every axis that are tried first, where no patch size is known."""

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Sizes:
    """The spatial sizes that a network takes and gives back.

    Attributes:
        multiple_of: Sizes along each axis are multiples of it.
        smallest: The shortest that each axis may be.
        only: The one size that it takes, where there is only one.
    """

    multiple_of: tuple[int, ...]
    smallest: tuple[int, ...]
    only: tuple[int, ...] | None = None

    @property
    def are_strides(self) -> bool:
        """Whether strides alone explain them: steps above 1, two of them at least."""
        steps = zip(self.multiple_of, self.smallest, strict=True)
        return self.only is None and all(m > 1 and n <= 2 * m for m, n in steps)


def find_sizes(
    body: nn.Module,
    *,
    in_channels: int,
    spatial_dims: int,
    hint: Sequence[int] | None = None,
) -> Sizes | None:
    """The sizes whose logits come out as large as the image; None where none did.

    Each axis is varied by itself around a size that works, while training, which is
    the stricter: normalization needs more than one voxel. Tensors that have a shape
    and no values are tried first; a network that looks at values is run.

    Args:
        body: The network; it is not changed.
        in_channels: Channels of the image.
        spatial_dims: 2 or 3.
        hint: A size that it should take.
    """
    bases = [tuple(hint)] if hint is not None else []
    bases += [(n,) * spatial_dims for n in BASES]
    for device in ("meta", "cpu"):
        takes = _Trial(body, device=device, in_channels=in_channels)
        tried = bases if device == "meta" else bases[:3]
        base = next((size for size in tried if takes(size)), None)
        if base is not None:
            return _around(base, takes)
        if takes.answered:  # to some size, but with something else than logits
            return None
    return None


def logits_in(answer: Any, *, spatial_dims: int) -> list[Tensor]:
    """The logits that a network's answer holds, full resolution first.

    Networks with deep supervision answer with a list, or with one tensor that has an
    axis of heads after that of the batch (MONAI's DynUNet); torchvision's with a
    mapping that has ``out``. Empty where it is none of these.
    """
    if isinstance(answer, Mapping):
        answer = answer.get("out")
    if isinstance(answer, Tensor):
        if answer.dim() == spatial_dims + 3:
            return list(answer.unbind(dim=1))
        return [answer] if answer.dim() == spatial_dims + 2 else []
    if not isinstance(answer, list | tuple):
        return []
    every = [z for z in answer if isinstance(z, Tensor) and z.dim() == spatial_dims + 2]
    return every if len(every) == len(answer) else []


def _around(base: tuple[int, ...], takes: Callable[[tuple[int, ...]], bool]) -> Sizes:
    multiples = [_multiple(base, axis, takes) for axis in range(len(base))]
    known = tuple(m for m in multiples if m is not None)
    if len(known) < len(base):
        ones = (1,) * len(base)
        return Sizes(ones, ones, base)
    smallest = tuple(
        _smallest(base, axis, multiple, takes) for axis, multiple in enumerate(known)
    )
    while not takes(smallest):  # short in one axis is not yet short in all
        grown = tuple(
            min(n + m, max(n, ceil(b / m) * m))
            for n, m, b in zip(smallest, known, base, strict=True)
        )
        if grown == smallest:
            break
        smallest = grown
    return Sizes(known, smallest)


def _multiple(
    base: tuple[int, ...], axis: int, takes: Callable[[tuple[int, ...]], bool]
) -> int | None:
    """The smallest step such that the next sizes all do."""
    for step in MULTIPLES:
        start = ceil(base[axis] / step) * step
        if all(takes(_with(base, axis, start + step * n)) for n in (1, 2, 3)):
            return step
    return None


def _smallest(
    base: tuple[int, ...],
    axis: int,
    step: int,
    takes: Callable[[tuple[int, ...]], bool],
) -> int:
    low, high = 1, ceil(base[axis] / step)
    while low < high:  # what a size takes, a larger one does
        middle = (low + high) // 2
        if takes(_with(base, axis, middle * step)):
            high = middle
        else:
            low = middle + 1
    return low * step


def _with(base: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*base[:axis], size, *base[axis + 1 :])


class _Trial:
    """Whether a network gives logits as large as an image of a size; asked once each.

    Attributes:
        answered: Whether it gave any answer, right or wrong.
    """

    def __init__(self, body: nn.Module, *, device: str, in_channels: int) -> None:
        self.answered = False
        self._network = copy.deepcopy(body).train().to(device)
        self._device = device
        self._in_channels = in_channels
        self._known: dict[tuple[int, ...], bool] = {}

    def __call__(self, size: tuple[int, ...]) -> bool:
        if size not in self._known:
            self._known[size] = self._gives_back(size)
        return self._known[size]

    @torch.no_grad()
    def _gives_back(self, size: tuple[int, ...]) -> bool:
        x = torch.zeros((1, self._in_channels, *size), device=self._device)
        try:
            with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
                warnings.simplefilter("ignore")
                answer = self._network(x)
        except Exception:  # noqa: BLE001 - whatever layers raise, the size does not fit
            return False
        self.answered = True
        logits = logits_in(answer, spatial_dims=len(size))
        return bool(logits) and tuple(logits[0].shape[2:]) == size
