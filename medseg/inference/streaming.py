"""Logits of a scan, slab by slab: finished slabs are handed on and forgotten.

Windows that hold one value alone (air around a body that was clipped to one value, a
margin of zeros) are answered once. Nothing is assumed but that the network answers
equal inputs equally, so that results do not change.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medseg.device import send
from medseg.inference.rolling import BlendWeights, RollingSum, depth_needed
from medseg.inference.tiling import (
    Box,
    Continuation,
    Tile,
    Tiling,
    common,
    take,
    voxels_shown,
)

Values = tuple[float, ...]
"""What each channel of a window holds."""


def constant_values(
    image: Tensor, tiles: Sequence[Tile], beyond: Continuation
) -> list[Values | None]:
    """The values of each tile's input, None where it holds more than one.

    The least and largest value of all tiles are found axis by axis: tiles lie on a
    grid, so that their parts along an axis are few.

    Args:
        image: Shape (C, *spatial), on the host.
        tiles: What is asked about.
        beyond: What tiles show outside of the image.
    """
    if not tiles:
        return []
    axes = range(image.ndim - 1)
    parts = [sorted({_part(tile, axis) for tile in tiles}) for axis in axes]
    shown = [
        [voxels_shown(slice(*part), size, beyond) for part in along]
        for along, size in zip(parts, image.shape[1:], strict=True)
    ]
    low, high = (values.movedim(0, -1).numpy() for values in _extremes(image, shown))
    found: list[Values | None] = []
    for tile in tiles:
        keys = [_part(tile, axis) for axis in axes]
        place = tuple(part.index(key) for part, key in zip(parts, keys, strict=True))
        least, largest = low[place], high[place]
        is_padded = beyond == "zero" and any(
            start < 0 or stop > size
            for (start, stop), size in zip(keys, image.shape[1:], strict=True)
        )
        is_constant = bool((least == largest).all())
        if is_constant and not (is_padded and bool(least.any())):
            found.append(tuple(map(float, least)))
        else:
            found.append(None)
    return found


def _part(tile: Tile, axis: int) -> tuple[int, int]:
    return tile.source[axis].start, tile.source[axis].stop


def _extremes(image: Tensor, shown: list[list[slice]]) -> tuple[Tensor, Tensor]:
    """Least and largest values of all combinations of parts, (C, parts, ...).

    The axis that shrinks most goes first, so that little is held in between.
    """
    low = high = image
    axes = range(len(shown))
    for axis in sorted(axes, key=lambda a: len(shown[a]) / image.shape[a + 1]):
        low, high = (
            torch.stack(
                [find(values[_rows(axis, part)], axis + 1) for part in shown[axis]],
                dim=axis + 1,
            )
            for values, find in ((low, torch.amin), (high, torch.amax))
        )
    return low, high


def _rows(axis: int, part: slice) -> tuple[slice, ...]:
    return (*[slice(None)] * (axis + 1), part)


Predict = Callable[[Tensor], Tensor]
"""A network: (N, C, *spatial) to logits (N, L, *spatial)."""


@dataclass(frozen=True)
class LogitSlab:
    """Finished rows of a scan, and the one row before them that neighbours need.

    Attributes:
        axis: Spatial axis that the rows are counted along.
        first: Row of the image that the tensors begin with.
        new: First row that was not part of earlier `LogitSlab`.
        stop: Past the last row.
        sums: Weighted sums of logits, shape (L, *spatial); a view that is valid until
            the next rows are asked for.
        weights: What to divide them by, shape (*spatial); None for logits as they are.
    """

    axis: int
    first: int
    new: int
    stop: int
    sums: Tensor
    weights: Tensor | None

    def logits(self) -> Tensor:
        """Logits of the new rows, in memory of their own."""
        skip, count = self.new - self.first, self.stop - self.new
        sums = self.sums.narrow(self.axis + 1, skip, count)
        if self.weights is None:
            return sums.clone()
        return sums / self.weights.narrow(self.axis, skip, count)

    def counted_from(self, origin: int, *, new: int) -> "LogitSlab":
        """The same with rows counted from one of the image, and fewer new ones."""
        return replace(
            self,
            first=self.first - origin,
            new=new - origin,
            stop=self.stop - origin,
        )

    def with_axes(self, order: Sequence[int]) -> "LogitSlab":
        """The same with spatial axes in another order, as views."""
        sums = self.sums.permute(0, *(axis + 1 for axis in order))
        weights = None if self.weights is None else self.weights.permute(*order)
        axis = tuple(order).index(self.axis)
        return LogitSlab(axis, self.first, self.new, self.stop, sums, weights)


@dataclass
class WindowCount:
    """Windows of a stream.

    Attributes:
        num_windows: All of them so far.
        num_repeated: Those that held one value alone, as another one before, and were
            answered as that one was.
    """

    num_windows: int = 0
    num_repeated: int = 0


Window = tuple[Tile, Values | None]
"""A tile, and the values of its channels where it holds no others."""


def stream_rows(
    predict: Predict,
    image: Tensor,
    tiling: Tiling,
    *,
    region: Box | None = None,
    batch_size: int = 1,
    device: torch.device | None = None,
    sums_on: torch.device | None = None,
    held: Tensor | None = None,
    count: WindowCount | None = None,
) -> Iterator[LogitSlab]:
    """Rows of logits along the tiling's axis, each when its last window was computed.

    Args:
        predict: The network; windows of one same value are given to it once.
        image: Shape (C, *spatial), on the host.
        tiling: Windows over the image.
        region: The part that is wanted; windows that do not touch it are left out.
        batch_size: Windows per call of `predict`.
        device: Where windows go to be predicted; where the image is by default.
        sums_on: Where sums of logits are held; on `device` by default.
        held: The image where windows are cut out, such as on the device.
        count: Is told of the windows.

    Yields:
        Rows that together cover the region along the axis, once and in order.
    """
    device = image.device if device is None else device
    region = region or tuple(slice(0, n) for n in tiling.shape)
    axis = tiling.axis
    sums_on = sums_on or device
    if tiling.importance is not None:
        tiling = replace(tiling, importance=send(tiling.importance, sums_on))
    batches = _batches(_touching(image, tiling, region), batch_size, axis=axis)
    rows = region[axis]
    targets = [[tile.target for tile, _ in batch] for batch in batches]
    sums = RollingSum(
        region=region,
        axis=axis,
        depth=depth_needed(targets, axis=axis, rows=rows),
        device=sums_on,
    )
    weights = None if tiling.is_exact else BlendWeights(tiling, region, device=sums_on)
    answers = _Answers(
        predict, image if held is None else held, tiling, device, count or WindowCount()
    )
    new = rows.start
    unfinished = _first_rows(targets, axis, rows.stop)
    for batch, after in zip(batches, unfinished[1:], strict=True):
        for tile, logits in answers.of(batch):
            share = None if tiling.importance is None else tiling.importance[tile.inner]
            sums.add(logits[(slice(None), *tile.inner)], tile.target, share)
        if after > new:
            yield from _finished_slabs(sums, weights, axis, new, after)
            new = after
            sums.forget(new - 1)


def _finished_slabs(
    sums: RollingSum, weights: BlendWeights | None, axis: int, new: int, stop: int
) -> Iterator[LogitSlab]:
    """Rows from `new` to `stop`, to which no window adds any more."""
    for first, last, part in sums.finished(new, stop):
        start = last - part.shape[axis + 1]
        total = None if weights is None else weights.rows(start, last)
        yield LogitSlab(axis, start, first, last, part, total)


class _Answers:
    """What the network says to windows; to those of one same value, once."""

    def __init__(
        self,
        predict: Predict,
        image: Tensor,
        tiling: Tiling,
        device: torch.device,
        count: WindowCount,
    ) -> None:
        self._predict = predict
        self._image = image
        self._beyond = tiling.beyond
        self._device = device
        self._count = count
        self._known: dict[tuple[Values, tuple[int, ...]], Tensor] = {}

    def of(self, batch: Sequence[Window]) -> Iterator[tuple[Tile, Tensor]]:
        """Tiles in their order, with logits of shape (L, *window)."""
        self._count.num_windows += len(batch)
        several = [tile for tile, values in batch if values is None]
        answers = iter(self._compute(several) if several else ())
        for tile, values in batch:
            yield tile, next(answers) if values is None else self._same(tile, values)

    def _compute(self, tiles: Sequence[Tile]) -> Tensor:
        parts = [take(self._image, tile.source, self._beyond) for tile in tiles]
        joined = parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
        return self._predict(send(joined, self._device)).float()

    def _same(self, tile: Tile, values: Values) -> Tensor:
        key = (values, _input_size(tile))
        if key in self._known:
            self._count.num_repeated += 1
        else:  # the last one alone is kept
            self._known = {key: self._compute([tile])[0]}
        return self._known[key]


def _touching(image: Tensor, tiling: Tiling, region: Box) -> list[Window]:
    tiles = [tile for tile in tiling.tiles if common(tile.target, region) is not None]
    values = constant_values(image, tiles, tiling.beyond)
    return list(zip(tiles, values, strict=True))


def _batches(windows: Sequence[Window], size: int, *, axis: int) -> list[list[Window]]:
    """Neighbours in the order of the tiles, of one size of input.

    Windows of one value need no place in a batch, and join that of their neighbours. A
    batch reaches no further along the axis than its size asks for, since all rows that
    it adds to are held.
    """
    per_start = Counter(tile.target[axis].start for tile, _ in windows)
    order = {start: number for number, start in enumerate(sorted(per_start))}
    most_starts = -(-size // max(per_start.values(), default=1))
    batches: list[list[Window]] = []
    for _, alike in itertools.groupby(windows, key=lambda one: _input_size(one[0])):
        computed, first, batch = 0, 0, list[Window]()
        for window in alike:
            tile, values = window
            start = order[tile.target[axis].start]
            is_full = computed == size and values is None
            if batch and (is_full or start - first >= most_starts):
                batches.append(batch)
                computed, batch = 0, []
            first = first if batch else start
            computed += values is None
            batch.append(window)
        batches.append(batch)
    return batches


def _input_size(tile: Tile) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in tile.source)


def _first_rows(targets: Sequence[Sequence[Box]], axis: int, last: int) -> list[int]:
    """For each batch, the first row that it or a later one adds to; then the end."""
    firsts = [min(target[axis].start for target in batch) for batch in targets]
    return list(itertools.accumulate(reversed([*firsts, last]), min))[::-1]
