"""From logits on the network's grid to labels on the scan's.

nnU-Net resamples the logits of all classes, rounds them to float16 and takes the
largest. Linear interpolation never leaves the range of the voxels it is made of, so
that in most blocks of the image a single class can win, and nothing is computed; in the
others only the classes that may win are.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.inference.nnunet.resample import Resize, nearest_slices

BLOCK = 16
"""Voxels of the network's grid along each side of a block."""


def decide(
    slabs: Iterable[Tensor],
    shape: Sequence[int],
    resampling: Resize,
    *,
    region_order: Sequence[int],
) -> np.ndarray:
    """The label of each voxel of a new grid, int16.

    Args:
        slabs: Float16 logits (L, rows, b, c), one after another along the first axis.
        shape: (a, b, c) of all of them together.
        resampling: To the new grid.
        region_order: Values that regions are painted with, later ones over earlier;
            empty for plain labels, whose first largest logit decides.
    """
    if resampling.is_linear:
        return _by_blocks(slabs, shape, resampling, region_order)
    logits = torch.cat(list(slabs), dim=1)
    if region_order:
        return _painted(logits, resampling, region_order)
    best = on_new_grid(logits[0], resampling)
    found = np.zeros(best.shape, np.int16)
    for label in range(1, len(logits)):
        values = on_new_grid(logits[label], resampling)
        better = values > best
        found[better] = label
        np.copyto(best, values, where=better)
    return found


def on_new_grid(logits: Tensor, resampling: Resize) -> np.ndarray:
    """One class's logits, resampled: float16, or 32 by torch's function."""
    values = resampling.image(logits.numpy())
    return values.astype(values.dtype if values.dtype == np.float32 else np.float16)


def _painted(
    logits: Tensor, resampling: Resize, region_order: Sequence[int]
) -> np.ndarray:
    found: np.ndarray | None = None
    for region, value in zip(logits, region_order, strict=True):
        values = on_new_grid(region, resampling)
        if found is None:
            found = np.zeros(values.shape, np.int16)
        found[in_region(values)] = value
    assert found is not None
    return found


def in_region(logits: np.ndarray) -> np.ndarray:
    """Where a region's probability in float32 exceeds one half."""
    mask: np.ndarray = (torch.from_numpy(logits).float().sigmoid() > 0.5).numpy()
    return mask


@dataclass(frozen=True)
class AxisSampling:
    """Linear interpolation along an axis: two neighbours and a share for each voxel.

    Attributes:
        low: Index of the lower neighbour; rises.
        high: Index of the upper neighbour.
        share: Of the upper one.
    """

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray

    @classmethod
    def linear(cls, count: int, new_count: int) -> "AxisSampling":
        """Over the same field of view, edges repeated."""
        where = (np.arange(new_count) + 0.5) * (count / new_count) - 0.5
        where = np.clip(where, 0, count - 1)
        low = np.floor(where).astype(int)
        return cls(low, np.minimum(low + 1, count - 1), where - low)

    @classmethod
    def nearest(cls, count: int, new_count: int) -> "AxisSampling":
        """Copies of whole slices."""
        index = nearest_slices(count, new_count)
        return cls(index, index, np.zeros(new_count))

    def within(self, start: int, stop: int) -> slice:
        """New voxels whose lower neighbour lies in a range."""
        first, last = np.searchsorted(self.low, (start, stop))
        return slice(int(first), int(last))

    def part(self, new: slice, start: int) -> "AxisSampling":
        """The same for some new voxels, neighbours counted from a start."""
        return AxisSampling(
            self.low[new] - start, self.high[new] - start, self.share[new]
        )


@dataclass(frozen=True)
class _Block:
    """Part of the network's grid, the voxels after it included, and of the new one.

    Attributes:
        source: Along the second and third axis.
        target: Along all.
        axes: Sampling of the target.
    """

    source: tuple[slice, ...]
    target: tuple[slice, ...]
    axes: tuple[AxisSampling, ...]


def _by_blocks(
    slabs: Iterable[Tensor],
    shape: Sequence[int],
    resampling: Resize,
    region_order: Sequence[int],
) -> np.ndarray:
    axes = tuple(
        AxisSampling.nearest(old, new)
        if axis == resampling.axis
        else AxisSampling.linear(old, new)
        for axis, (old, new) in enumerate(zip(shape, resampling.shape, strict=True))
    )
    found = np.zeros(resampling.shape, np.int16)
    for start, rows in _layers(slabs, shape[0]):
        for block in _blocks(start, shape, axes):
            part = rows[(slice(None), slice(None), *block.source)].float().numpy()
            if region_order:
                _paint(found[block.target], part, block.axes, region_order)
            else:
                _choose(found[block.target], part, block.axes)
    return found


def _layers(slabs: Iterable[Tensor], size: int) -> Iterator[tuple[int, Tensor]]:
    """Rows of a layer of blocks and the row after it, each with where it begins."""
    held: list[Tensor] = []
    start = 0
    for slab in slabs:
        held.append(slab)
        while start < size and (
            sum(part.shape[1] for part in held) >= min(BLOCK + 1, size - start)
        ):
            rows = held[0] if len(held) == 1 else torch.cat(held, dim=1)
            yield start, rows[:, : BLOCK + 1]
            held = [rows[:, BLOCK:]]
            start += BLOCK


def _blocks(
    start: int, shape: Sequence[int], axes: tuple[AxisSampling, ...]
) -> Iterator[_Block]:
    """The blocks of the layer that begins at a row; `source` leaves that axis out."""
    rows = axes[0].within(start, start + BLOCK)
    first = axes[0].part(rows, start)
    corners = [range(0, size, BLOCK) for size in shape[1:]]
    for corner in itertools.product(*corners):
        source, target, inner = [], [rows], [first]
        for begin, size, axis in zip(corner, shape[1:], axes[1:], strict=True):
            new = axis.within(begin, begin + BLOCK)
            source.append(slice(begin, min(begin + BLOCK + 1, size)))
            target.append(new)
            inner.append(axis.part(new, begin))
        if all(new.stop > new.start for new in target):
            yield _Block(tuple(source), tuple(target), tuple(inner))


def _choose(
    out: np.ndarray,
    part: np.ndarray,
    axes: tuple[AxisSampling, ...],
) -> None:
    """Writes the first largest class of each voxel of a block.

    A class whose highest logit lies below another's lowest wins nowhere; rounding
    keeps that order.
    """
    every = part.reshape(len(part), -1)
    candidates = np.flatnonzero(every.max(axis=1) >= every.min(axis=1).max())
    out[:] = candidates[0]
    if len(candidates) == 1:
        return
    best = interpolated(part[candidates[0]], axes)
    for label in candidates[1:]:
        values = interpolated(part[label], axes)
        better = values > best
        out[better] = label
        np.copyto(best, values, where=better)


def _paint(
    out: np.ndarray,
    part: np.ndarray,
    axes: tuple[AxisSampling, ...],
    region_order: Sequence[int],
) -> None:
    """Writes the value of the last region that holds each voxel of a block."""
    for region, value in zip(part, region_order, strict=True):
        if region.max() > 0:
            out[in_region(interpolated(region, axes))] = value


def interpolated(values: np.ndarray, axes: Sequence[AxisSampling]) -> np.ndarray:
    """Values at new voxels, rounded to float16 as nnU-Net does, in float32.

    Args:
        values: Shape (a, b, c).
        axes: Sampling along each axis.
    """
    found = values.astype(np.float64)
    for number, axis in enumerate(axes):
        share = axis.share
        if not share.any():
            found = np.take(found, axis.low, axis=number)
            continue
        weight = share.reshape(-1, *(1,) * (found.ndim - 1 - number))
        lower = np.take(found, axis.low, axis=number)
        upper = np.take(found, axis.high, axis=number)
        found = lower * (1 - weight) + upper * weight
    return found.astype(np.float16).astype(np.float32)
