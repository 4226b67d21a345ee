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


def window_layers(
    shape: Sequence[int], window: Sequence[int], *, step: float = STEP
) -> Iterator[tuple[int, list[tuple[slice, ...]]]]:
    """Where windows lie in an image of shape (a, b, c), in nnU-Net's order.

    Yields:
        For each place along the first axis, it and the places along the others. Windows
        of two axes go through every slice of the first.
    """
    flat = len(window) == 2
    inner = [
        [slice(start, start + side) for start in window_starts(size, side, step=step)]
        for size, side in zip(shape[1:], window[-2:], strict=True)
    ]
    outer = range(shape[0]) if flat else window_starts(shape[0], window[0], step=step)
    for start in outer:
        yield start, list(itertools.product(*inner))


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


def logit_slabs(
    networks: Sequence[Predict],
    image: Tensor,
    window: tuple[int, ...],
    *,
    num_outputs: int,
    step: float = STEP,
    device: torch.device,
) -> Iterator[Tensor]:
    """Mean logits of all networks, float16, slab by slab along the first axis.

    Each slab has the shape (L, rows, b, c) and begins where the last one ended. Sums
    are float16, as nnU-Net's are on every device, and in its order: its label maps
    depend on that. Only the rows that windows still overlap are kept.

    Args:
        networks: One for each fold, flips included.
        image: Float32 (C, a, b, c).
        window: Voxels of a window.
        num_outputs: L.
        step: Share of a window from one to the next.
        device: Where the networks run.

    Raises:
        PredictionError: The sums exceed float16.
    """
    padded, inside = _padded(image, window)
    shape = padded.shape[1:]
    layers = list(window_layers(shape, window, step=step))
    depth = window[0] if len(window) == 3 else 1
    weight = gaussian(window)
    single = weight.float()  # the same numbers, multiplied in half the time
    sums = [
        torch.zeros((num_outputs, depth, *shape[1:]), dtype=torch.float16)
        for _ in networks
    ]
    weights = torch.zeros((depth, *shape[1:]), dtype=torch.float16)
    for number, (start, places) in enumerate(layers):
        for place in places:
            rows = slice(start, start + depth) if len(window) == 3 else start
            row = slice(None) if len(window) == 3 else 0
            part = padded[(slice(None), rows, *place)][None].contiguous().to(device)
            for network, total in zip(networks, sums, strict=True):
                _add(network, part, single, total[(slice(None), row, *place)])
            weights[(row, *place)] += weight
        final = (
            layers[number + 1][0] if number + 1 < len(layers) else shape[0]
        ) - start
        slab = _mean(sums, weights, final)
        kept = slice(max(inside[0].start - start, 0), max(inside[0].stop - start, 0))
        yield slab[(slice(None), kept, *inside[1:])]
        for total in (*sums, weights[None]):
            total[:, : depth - final] = total[:, final:].clone()
            total[:, depth - final :] = 0


@torch.inference_mode()
def _add(network: Predict, part: Tensor, weight: Tensor, total: Tensor) -> None:
    """Adds a window's weighted logits (L, *window) to its part of the sums."""
    total += network(part)[0].cpu() * weight


def _mean(sums: Sequence[Tensor], weights: Tensor, rows: int) -> Tensor:
    """Mean over the folds of the first rows' logits.

    Raises:
        PredictionError: One is infinite.
    """
    mean: Tensor | None = None
    for total in sums:
        logits = torch.div(total[:, :rows], weights[:rows])
        mean = logits if mean is None else mean.add_(logits)
    assert mean is not None
    if len(sums) > 1:
        mean /= len(sums)
    if torch.isinf(mean).any():
        raise PredictionError(
            "the network's logits exceed what nnU-Net's float16 sums hold; nnU-Net "
            "itself refuses this scan"
        )
    return mean


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
