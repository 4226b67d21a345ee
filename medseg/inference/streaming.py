"""Logits of a scan, slab by slab: finished slabs are handed on and forgotten."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medseg.inference.border_padding import take
from medseg.inference.rolling import BlendWeights, RollingSum, depth_needed
from medseg.inference.tiling import Box, Tile, Tiling, common

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

    def logits_into(self, out: Tensor) -> None:
        """Writes the new rows' logits into memory of their shape."""
        skip, count = self.new - self.first, self.stop - self.new
        sums = self.sums.narrow(self.axis + 1, skip, count)
        if self.weights is None:
            out.copy_(sums)
        else:
            torch.div(sums, self.weights.narrow(self.axis, skip, count), out=out)

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


def stream_rows(
    predict: Predict,
    image: Tensor,
    tiling: Tiling,
    *,
    region: Box | None = None,
    batch_size: int = 1,
    device: torch.device | None = None,
    sums_on: torch.device | None = None,
) -> Iterator[LogitSlab]:
    """Rows of logits along the tiling's axis, each when its last window was computed.

    Args:
        predict: The network.
        image: Shape (C, *spatial), anywhere.
        tiling: Windows over the image.
        region: The part that is wanted; windows that do not touch it are left out.
        batch_size: Windows per call of `predict`.
        device: Where windows go to be predicted; where the image is by default.
        sums_on: Where sums of logits are held; on `device` by default.

    Yields:
        Rows that together cover the region along the axis, once and in order.
    """
    device = image.device if device is None else device
    region = region or tuple(slice(0, n) for n in tiling.shape)
    axis = tiling.axis
    if tiling.importance is not None:
        tiling = replace(tiling, importance=tiling.importance.to(sums_on or device))
    batches = list(_batches(_touching(tiling.tiles, region), batch_size))
    rows = region[axis]
    targets = [[tile.target for tile in batch] for batch in batches]
    sums_on = sums_on or device
    sums = RollingSum(
        region=region,
        axis=axis,
        depth=depth_needed(targets, axis=axis, rows=rows),
        device=sums_on,
    )
    weights = None
    if not tiling.is_exact:
        weights = BlendWeights(tiling, region, device=sums_on)
    new = rows.start
    unfinished = _first_rows(batches, axis, rows.stop)
    for batch, after in zip(batches, unfinished[1:], strict=True):
        _compute(predict, image, tiling, batch, sums, device)
        if after > new:
            for first, stop, part in sums.finished(new, after):
                start = stop - part.shape[axis + 1]
                share = None if weights is None else weights.rows(start, stop)
                yield LogitSlab(axis, start, first, stop, part, share)
            new = after
            sums.forget(new - 1)


def _compute(
    predict: Predict,
    image: Tensor,
    tiling: Tiling,
    batch: Sequence[Tile],
    sums: RollingSum,
    device: torch.device,
) -> None:
    parts = [take(image, tile.source, tiling.beyond) for tile in batch]
    joined = parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
    logits = predict(joined.to(device)).float()
    for tile, answer in zip(batch, logits, strict=True):
        weights = tiling.importance
        if weights is not None:
            weights = weights[tile.inner]
        sums.add(answer[(slice(None), *tile.inner)], tile.target, weights)


def _touching(tiles: Sequence[Tile], region: Box) -> list[Tile]:
    return [tile for tile in tiles if common(tile.target, region) is not None]


def _batches(tiles: Sequence[Tile], size: int) -> Iterator[list[Tile]]:
    """Neighbours in the order of the tiles, of one size of input."""
    for _, alike in itertools.groupby(tiles, key=_input_size):
        some = iter(alike)
        while batch := list(itertools.islice(some, size)):
            yield batch


def _input_size(tile: Tile) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in tile.source)


def _first_rows(batches: Sequence[Sequence[Tile]], axis: int, last: int) -> list[int]:
    """For each batch, the first row that it or a later one adds to; then the end."""
    firsts = [min(tile.target[axis].start for tile in batch) for batch in batches]
    return list(itertools.accumulate(reversed([*firsts, last]), min))[::-1]


class ConstantWindows:
    """A network that computes a constant window once and repeats the answer.

    Air around a body that was clipped to one value, or a margin of zeros. Nothing is
    assumed but that the network answers equal inputs equally, so that results do not
    change.

    Attributes:
        num_windows: Windows so far.
        num_repeated: Those of them that were not computed.
    """

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._answers: dict[tuple[float, ...], Tensor] = {}
        self.num_windows = 0
        self.num_repeated = 0

    def __call__(self, batch: Tensor) -> Tensor:
        """Logits of a batch of windows, in memory that may be shared."""
        self.num_windows += len(batch)
        if len(batch) > 1:
            return self._predict(batch)
        flat = batch[0].flatten(1)
        corner = flat[:, 0]
        if not bool((flat == corner[:, None]).all()):
            return self._predict(batch)
        key = (*batch.shape[2:], *corner.tolist())
        if key in self._answers:
            self.num_repeated += 1
        else:
            self._answers = {key: self._predict(batch)}
        return self._answers[key]
