"""Where windows lie over a scan, and how much each voxel of a window counts."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

SIGMA_SCALE = 1 / 8
"""Deviation of the Gaussian window as a share of its size, as in nnU-Net."""


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxels of evenly spread windows that cover an axis.

    Args:
        size: Voxels of the axis.
        window: Voxels of a window; at most `size`.
        overlap: Least share of a window that its neighbour covers again.
    """
    if window >= size:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((size - window) / step) + 1
    last = size - window
    return [round(index * last / (count - 1)) for index in range(count)]


def windows(
    shape: Sequence[int], window: Sequence[int], overlap: float
) -> Iterator[tuple[slice, ...]]:
    """Boxes of one size that cover a shape, first axis outermost."""
    starts = [
        window_starts(size, width, overlap)
        for size, width in zip(shape, window, strict=True)
    ]
    for corner in itertools.product(*starts):
        yield tuple(
            slice(start, start + width)
            for start, width in zip(corner, window, strict=True)
        )


def gaussian_importance(
    window: Sequence[int], *, device: torch.device | None = None
) -> Tensor:
    """Weight of each voxel of a window, largest at the centre, never zero.

    A separable Gaussian with a deviation of one eighth of the window, normalised to
    a largest value of 1 (Isensee et al., Nat Methods 2021,
    doi:10.1038/s41592-020-01008-z).

    Returns:
        A tensor of the window's shape.
    """
    importance = torch.ones((), device=device)
    for size in window:
        position = torch.arange(size, device=device) - (size - 1) / 2
        bell = torch.exp(-0.5 * (position / (size * SIGMA_SCALE)) ** 2)
        importance = importance.unsqueeze(-1) * bell
    return (importance / importance.max()).clamp_min_(1e-4)
