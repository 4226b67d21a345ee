"""nnU-Net's sliding windows: where they lie, and their float16 sums."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medseg.errors import PredictionError

Predict = Callable[[Tensor], Tensor]
"""A network: (1, C, *spatial) to logits (1, L, *spatial), in nnU-Net's axes."""

STEP = 0.5
"""Of a window, from one to the next, at most."""
SIGMA, PEAK = 1 / 8, 10
"""Of the Gaussian: deviation as a share of the window, and largest weight."""


def window_starts(size: int, window: int, *, step: float = STEP) -> list[int]:
    """Where windows begin along an axis, evenly spread from edge to edge."""
    count = int(np.ceil((size - window) / (window * step))) + 1
    if count < 2:
        return [0]
    apart = (size - window) / (count - 1)
    return [int(np.round(apart * index)) for index in range(count)]


def window_slices(
    shape: Sequence[int], window: Sequence[int], *, step: float = STEP
) -> Iterator[tuple[slice | int, ...]]:
    """Windows in an image of shape (a, b, c), in nnU-Net's order.

    Windows of two axes go through every slice of the first.
    """
    flat = len(window) == 2
    inner = [
        [slice(start, start + side) for start in window_starts(size, side, step=step)]
        for size, side in zip(shape[1 if flat else 0 :], window, strict=True)
    ]
    outer: list[Sequence[slice | int]] = [range(shape[0])] if flat else []
    yield from itertools.product(*outer, *inner)


@lru_cache(maxsize=4)
def gaussian(window: tuple[int, ...]) -> Tensor:
    """The float16 weights of a window's voxels; none is zero."""
    from scipy import ndimage

    centre = np.zeros(window)
    centre[tuple(side // 2 for side in window)] = 1
    sigmas = [side * SIGMA for side in window]
    weights = ndimage.gaussian_filter(centre, sigmas, 0, mode="constant", cval=0)
    weights /= weights.max() / PEAK
    half = torch.from_numpy(weights).to(torch.float16)
    half[half == 0] = half[half != 0].min()
    return half


def mirrored(predict: Predict, axes: Sequence[int]) -> Predict:
    """The network's mean over flips along all combinations of spatial axes."""
    flips = [
        combination
        for count in range(1, len(axes) + 1)
        for combination in itertools.combinations([axis + 2 for axis in axes], count)
    ]

    def averaged(window: Tensor) -> Tensor:
        total = predict(window)
        if not flips:
            return total
        total = total.clone()
        for flip in flips:
            total += torch.flip(predict(torch.flip(window, flip)), flip)
        total /= len(flips) + 1
        return total

    return averaged


@torch.inference_mode()
def window_logits(
    predict: Predict,
    image: Tensor,
    window: tuple[int, ...],
    *,
    num_outputs: int,
    step: float = STEP,
    device: torch.device,
) -> Tensor:
    """Logits of an image, float16 (L, a, b, c) on the CPU.

    Sums are float16, as nnU-Net's are on every device: its label maps depend on that.

    Args:
        predict: The network, flips included.
        image: Float32 (C, a, b, c).
        window: Voxels of a window.
        num_outputs: L.
        step: Share of a window from one to the next.
        device: Where the network runs.

    Raises:
        PredictionError: The sums exceed float16.
    """
    padded, inside = _padded(image, window)
    shape = padded.shape[1:]
    sums = torch.zeros((num_outputs, *shape), dtype=torch.float16)
    weights = torch.zeros(shape, dtype=torch.float16)
    weight = gaussian(window)
    for place in window_slices(shape, window, step=step):
        part = padded[(slice(None), *place)][None].contiguous().to(device)
        logits = predict(part)[0].cpu()
        logits = logits * weight
        sums[(slice(None), *place)] += logits
        weights[place] += weight
    torch.div(sums, weights, out=sums)
    if torch.isinf(sums).any():
        raise PredictionError(
            "the network's logits exceed what nnU-Net's float16 sums hold; nnU-Net "
            "itself refuses this scan"
        )
    return sums[(slice(None), *inside)]


def _padded(image: Tensor, window: tuple[int, ...]) -> tuple[Tensor, tuple[slice, ...]]:
    """The image, filled up with zeros to a window's size, and where it lies in that.

    Half of what is added lies before; the odd voxel after.
    """
    sides = (*image.shape[1 : 4 - len(window)], *window)
    pads: list[int] = []
    inside = []
    for size, side in zip(image.shape[1:], sides, strict=True):
        missing = max(side - size, 0)
        before = missing // 2
        pads = [before, missing - before, *pads]
        inside.append(slice(before, before + size))
    if any(pads):
        image = torch.nn.functional.pad(image, pads)
    return image, tuple(inside)
