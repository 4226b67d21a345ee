"""Sums over windows, held only for the rows that are not finished."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from medseg.inference.tiling import Box, Tile, Tiling, common, inside, with_rows


class RollingSum:
    """Weighted logits of the part of an image that windows still add to.

    Rows along one axis live in a ring: those that are finished make room for those to
    come, so that memory is as deep as a window (and a batch of them), whatever the
    length of the axis. A spare row before the ring repeats its last one, so that a row
    and the one before it are always neighbours in memory.
    """

    def __init__(
        self,
        *,
        region: Box,
        axis: int,
        depth: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Holds nothing yet; memory is taken when the first logits arrive.

        Args:
            region: Part of the image that sums are wanted for.
            axis: Spatial axis along which rows are finished.
            depth: Rows that exist at once.
            device: Where the sums are.
            dtype: In which they are added up.
        """
        self._region = region
        self._axis = axis
        self._depth = min(depth, region[axis].stop - region[axis].start)
        self._forgotten = region[axis].start
        self._device = device
        self._dtype = dtype
        self._sums: Tensor | None = None

    def add(self, logits: Tensor, target: Box, importance: Tensor | None) -> None:
        """Adds weighted logits; without weights, overwrites what is there.

        Args:
            logits: Shape (L, *target).
            target: Voxels of the image.
            importance: Shape of the target.
        """
        held = common(target, self._region)
        if held is None:
            return
        if self._sums is None:
            self._sums = self._make(logits.shape[0], is_summed=importance is not None)
        for start, stop, slot in self._pieces(held[self._axis].start, held):
            box = with_rows(held, self._axis, start, stop)
            part = inside(box, target)
            new = logits[(slice(None), *part)].to(self._device)
            place = inside(box, self._region)
            place = with_rows(place, self._axis, slot, slot + stop - start)
            if importance is None:
                self._sums[(slice(None), *place)] = new
            else:
                self._sums[(slice(None), *place)].addcmul_(new, importance[part])

    def finished(self, new: int, stop: int) -> Iterator[tuple[int, int, Tensor]]:
        """Rows as views, in one or two pieces, each with the row before it.

        Yields:
            First new row, past the last, and sums of shape (L, *spatial) that begin
            one row earlier (except at the start of the region).
        """
        assert self._sums is not None  # there was at least one window
        box = with_rows(self._region, self._axis, new, stop)
        for first, last, slot in self._pieces(new, box):
            before = int(first > self._region[self._axis].start)
            if before and slot == 1:
                self._row(0).copy_(self._row(self._depth))
            count = last - first + before
            yield first, last, self._sums.narrow(self._axis + 1, slot - before, count)

    def forget(self, before: int) -> None:
        """Clears rows that are not needed any more."""
        box = with_rows(self._region, self._axis, self._forgotten, before)
        assert self._sums is not None
        for start, stop, slot in self._pieces(self._forgotten, box):
            self._sums.narrow(self._axis + 1, slot, stop - start).zero_()
        self._forgotten = max(before, self._forgotten)

    def _make(self, channels: int, *, is_summed: bool) -> Tensor:
        shape = [part.stop - part.start for part in self._region]
        shape[self._axis] = self._depth + 1
        make = torch.zeros if is_summed else torch.empty
        return make((channels, *shape), dtype=self._dtype, device=self._device)

    def _row(self, slot: int) -> Tensor:
        assert self._sums is not None
        return self._sums.narrow(self._axis + 1, slot, 1)

    def _pieces(self, start: int, box: Box) -> Iterator[tuple[int, int, int]]:
        """Rows without the ring's seam between them: first, past the last, slot."""
        stop = box[self._axis].stop
        while start < stop:
            slot = 1 + (start - self._region[self._axis].start) % self._depth
            last = min(stop, start + self._depth + 1 - slot)
            yield start, last, slot
            start = last


class BlendWeights:
    """Sums of the windows' weights, which are the same at each step along the axis."""

    def __init__(self, tiling: Tiling, region: Box, *, device: torch.device) -> None:
        """Adds up one step's windows.

        Args:
            tiling: Windows that are blended.
            region: Part of the image that weights are wanted for.
            device: Where the weights are.
        """
        assert tiling.importance is not None
        self._axis = tiling.axis
        self._starts = sorted({_start(tile, tiling.axis) for tile in tiling.tiles})
        shape = [part.stop - part.start for part in region]
        shape[tiling.axis] = tiling.importance.shape[tiling.axis]
        importance = tiling.importance.to(device)
        self._step = importance.new_zeros(shape)
        for tile in tiling.tiles:
            whole = with_rows(tile.target, tiling.axis, 0, region[tiling.axis].stop)
            held = common(whole, with_rows(region, tiling.axis, 0, 1))
            if _start(tile, tiling.axis) == self._starts[0] and held is not None:
                depth = shape[tiling.axis]
                place = with_rows(inside(held, region), tiling.axis, 0, depth)
                part = with_rows(inside(held, tile.source), tiling.axis, 0, depth)
                self._step[place] += importance[part]

    def rows(self, first: int, stop: int) -> Tensor:
        """Weights of rows, shape (*spatial)."""
        shape = list(self._step.shape)
        depth, shape[self._axis] = shape[self._axis], stop - first
        total = self._step.new_zeros(shape)
        for start in self._starts:
            low, high = max(start, first), min(start + depth, stop)
            if low < high:
                part = self._step.narrow(self._axis, low - start, high - low)
                total.narrow(self._axis, low - first, high - low).add_(part)
        return total


def _start(tile: Tile, axis: int) -> int:
    return int(tile.source[axis].start)


def depth_needed(
    batches: Sequence[Sequence[Box]], *, axis: int, rows: slice, kept: int = 1
) -> int:
    """Number of rows held at once when windows arrive in batches.

    Args:
        batches: Targets of the windows, in order.
        axis: Along which rows are finished.
        rows: Those that are wanted.
        kept: Finished rows that are kept for the next ones' neighbours.
    """
    firsts = [min(box[axis].start for box in batch) for batch in batches]
    starts = list(itertools.accumulate(reversed(firsts), min))[::-1]
    return max(
        (
            min(max(box[axis].stop for box in batch), rows.stop)
            - max(start - kept, rows.start)
            for batch, start in zip(batches, starts, strict=True)
        ),
        default=1,
    )
