"""Where windows lie over a scan, their weights, and what lies beyond its borders."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA_SCALE = 1 / 8
"""Deviation of the Gaussian window as a share of its size, as in nnU-Net."""

Box = tuple[slice, ...]
"""First and past-the-last voxel along each axis."""

Continuation = Literal["zero", "repeat", "mirror"]
"""What lies beyond the borders of an image: zeros as in training patches, the last
voxel again, or the mirror image about the border voxels."""


@dataclass(frozen=True)
class Tile:
    """One call of the network and what becomes of its answer.

    Attributes:
        source: Voxels that the network sees; may reach beyond the image.
        target: Voxels of the image that its logits are used for.
        inner: Where the target lies in the logits.
    """

    source: Box
    target: Box
    inner: Box


@dataclass(frozen=True)
class Tiling:
    """Tiles that cover an image, in the order in which they are computed.

    Attributes:
        tiles: Sorted by the first row of their targets along `axis`.
        shape: Voxels of the image.
        axis: Rows along it are finished one after another.
        importance: Weights of a window where targets overlap; None where they do not.
        beyond: What the network sees outside the image.
    """

    tiles: tuple[Tile, ...]
    shape: tuple[int, ...]
    axis: int
    importance: Tensor | None
    beyond: Continuation = "zero"

    @property
    def is_exact(self) -> bool:
        """Whether each voxel is answered by one tile alone."""
        return self.importance is None


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


def blended_tiling(
    shape: Sequence[int], *, window: Sequence[int], overlap: float, axis: int = 0
) -> Tiling:
    """Windows that overlap, to be averaged with Gaussian weights.

    An axis shorter than the window is continued by zeros on both sides, as training
    patches are.

    Args:
        shape: Voxels of the image.
        window: Voxels of a window.
        overlap: Least share of a window that its neighbour covers again.
        axis: Outermost in the order of the tiles.
    """
    before = [max(w - n, 0) // 2 for n, w in zip(shape, window, strict=True)]
    filled = [max(w, n) for n, w in zip(shape, window, strict=True)]
    tiles = []
    for box in windows(filled, window, overlap):
        source = tuple(
            slice(part.start - gap, part.stop - gap)
            for part, gap in zip(box, before, strict=True)
        )
        target = tuple(
            slice(max(part.start, 0), min(part.stop, size))
            for part, size in zip(source, shape, strict=True)
        )
        tiles.append(Tile(source, target, inside(target, source)))
    tiles.sort(key=lambda tile: tile.target[axis].start)  # keeps the rest in order
    importance = gaussian_importance(window)
    return Tiling(tuple(tiles), tuple(shape), axis, importance)


def inside(box: Box, outer: Box) -> Box:
    """A box in the voxels of a box around it."""
    return tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(box, outer, strict=True)
    )


def common(box: Box, other: Box) -> Box | None:
    """The voxels of both boxes; None where there are none."""
    both = tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(box, other, strict=True)
    )
    return both if all(part.start < part.stop for part in both) else None


def with_rows(box: Box, axis: int, start: int, stop: int) -> Box:
    """The box with other rows along an axis."""
    return (*box[:axis], slice(start, stop), *box[axis + 1 :])


def rolling_axis(shape: Sequence[int], window: Sequence[int]) -> int:
    """The axis along which the fewest voxels are unfinished at once.

    Sums are held for a window's depth of rows: V·w/n voxels, least where the axis is
    longest in windows; the first such axis.
    """
    ratios = [min(w / n, 1.0) for n, w in zip(shape, window, strict=True)]
    return ratios.index(min(ratios))


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


def take(image: Tensor, box: Box, beyond: Continuation = "zero") -> Tensor:
    """The part of an image in a box; a view where it lies within the image.

    Args:
        image: Shape (C, *spatial).
        box: In voxels of the image; may reach beyond it.
        beyond: What lies outside the image.

    Returns:
        Shape (C, *box).
    """
    shape = image.shape[1:]
    within = tuple(
        slice(min(max(part.start, 0), n - 1), max(min(part.stop, n), 1))
        for part, n in zip(box, shape, strict=True)
    )
    if within == tuple(box):
        return image[(slice(None), *within)]
    if beyond == "zero":
        return F.pad(image[(slice(None), *within)], _widths(box, within))
    for axis, (part, n) in enumerate(zip(box, shape, strict=True), start=1):
        if part.start >= 0 and part.stop <= n:
            image = image.narrow(axis, part.start, part.stop - part.start)
        else:
            index = _positions(part, n, beyond)
            image = image.index_select(axis, index.to(image.device))
    return image


def voxels_shown(part: slice, size: int, beyond: Continuation) -> slice:
    """The voxels of an axis that a range shows, which may reach beyond its ends."""
    if beyond == "zero" or (part.start >= 0 and part.stop <= size):
        return slice(max(part.start, 0), min(part.stop, size))
    where = _positions(part, size, beyond)
    return slice(int(where.min()), int(where.max()) + 1)


def _widths(box: Box, within: Box) -> list[int]:
    """Voxels to add before and after, last axis first, as `F.pad` wants them."""
    return [
        width
        for part, held in zip(reversed(box), reversed(within), strict=True)
        for width in (held.start - part.start, part.stop - held.stop)
    ]


def _positions(part: slice, size: int, beyond: Continuation) -> Tensor:
    """For each voxel of a range, the voxel of the axis that stands there.

    Mirroring about border voxels has a period of 2(n − 1).
    """
    where = torch.arange(part.start, part.stop)
    if beyond == "repeat" or size == 1:
        return where.clamp(0, size - 1)
    period = 2 * (size - 1)
    where = where.remainder(period)
    return torch.minimum(where, period - where)
