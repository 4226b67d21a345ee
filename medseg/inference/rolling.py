"""Sums over windows, held only for the rows that are not finished."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.inference.tiling import Box


class RollingSum:
    """Weighted logits of the part of an image that windows still add to.

    Rows along one axis are finished in order; what was forgotten makes room for the
    rows to come, so that memory is as deep as a window (and a batch of them), whatever
    the length of the axis.
    """

    def __init__(
        self, *, region: Box, axis: int, depth: int, device: torch.device
    ) -> None:
        """Holds nothing yet; memory is taken when the first logits arrive.

        Args:
            region: Part of the image that sums are wanted for.
            axis: Spatial axis along which rows are finished.
            depth: Rows that exist at once.
            device: Where the sums are.
        """
        self.region = region
        self.axis = axis
        rows = region[axis]
        self._depth = min(depth, rows.stop - rows.start)
        self._first = rows.start
        self._device = device
        self._sums: Tensor | None = None
        self._weights: Tensor | None = None

    def add(self, logits: Tensor, target: Box, importance: Tensor | None) -> None:
        """Adds weighted logits; without weights, puts them in their place.

        Args:
            logits: Shape (L, *target).
            target: Voxels of the image.
            importance: Shape of the target.
        """
        common = tuple(
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(target, self.region, strict=True)
        )
        if any(part.start >= part.stop for part in common):
            return
        part = tuple(
            slice(c.start - t.start, c.stop - t.start)
            for c, t in zip(common, target, strict=True)
        )
        logits = logits[(slice(None), *part)].to(self._device)
        self._make_room(logits.shape[0], common[self.axis].stop, importance is not None)
        assert self._sums is not None
        place = self._place(common)
        if importance is None:
            self._sums[(slice(None), *place)] = logits
            return
        assert self._weights is not None
        weights = importance[part].to(self._device)
        self._sums[(slice(None), *place)].addcmul_(logits, weights)
        self._weights[place] += weights

    def rows(self, first: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Sums (L, …) and weights (…) of rows, as views; other axes are whole."""
        assert self._sums is not None  # there was at least one window
        start, count = first - self._first, stop - first
        sums = self._sums.narrow(self.axis + 1, start, count)
        if self._weights is None:
            return sums, None
        return sums, self._weights.narrow(self.axis, start, count)

    def forget(self, first: int) -> None:
        """Rows before `first` are not needed any more; views of them become invalid."""
        if self._sums is not None and first > self._first:
            _shift(self._sums, self.axis + 1, first - self._first)
            if self._weights is not None:
                _shift(self._weights, self.axis, first - self._first)
        self._first = max(first, self._first)

    def _make_room(self, channels: int, stop: int, weighted: bool) -> None:  # noqa: FBT001
        if self._sums is None:
            shape = [part.stop - part.start for part in self.region]
            shape[self.axis] = self._depth
            make = torch.zeros if weighted else torch.empty
            self._sums = make((channels, *shape), device=self._device)
            if weighted:
                self._weights = torch.zeros(shape, device=self._device)
        assert stop - self._first <= self._depth

    def _place(self, box: Box) -> Box:
        offsets = [part.start for part in self.region]
        offsets[self.axis] = self._first
        return tuple(
            slice(part.start - offset, part.stop - offset)
            for part, offset in zip(box, offsets, strict=True)
        )


def _shift(sums: Tensor, axis: int, count: int) -> None:
    """Moves rows to the front and clears those behind, without a second copy."""
    depth = sums.shape[axis]
    for start in range(count, depth, max(count, 1)):
        some = min(count, depth - start)
        sums.narrow(axis, start - count, some).copy_(sums.narrow(axis, start, some))
    empty = min(count, depth)
    sums.narrow(axis, depth - empty, empty).zero_()


def depth_needed(
    batches: Sequence[Sequence[Box]], *, axis: int, rows: slice, kept: int = 1
) -> int:
    """Rows that exist at once when windows arrive in batches.

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
