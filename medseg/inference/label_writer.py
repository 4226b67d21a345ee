"""Finished rows of logits to labels, on a finer or coarser grid."""

import itertools
from collections.abc import Iterator
from math import prod

import numpy as np
import torch
from torch import Tensor

from medseg.inference.decision import class_scores
from medseg.inference.interpolation import AxisWeights, interpolate
from medseg.inference.streaming import LogitSlab
from medseg.inference.tiling import Box, with_rows
from medseg.labels import LabelScheme

SLAB_VALUES = 4_000_000
"""Class-times-voxel values that exist at once on the scan's grid (16 MB)."""

MANY_CLASSES = 8
"""From so many on, those that cannot win are left out first."""

MIXED = 255
"""Stands for a voxel between neighbours of different classes; no class has it."""

SPARSE_SHARE = 0.15
"""Up to this share of mixed voxels they are interpolated one by one."""


class LabelWriter:
    """Decides for each voxel as soon as the rows around it are finished.

    Logits are interpolated linearly. Where all neighbours of a voxel have the same
    largest class, so has every mean of them: those voxels, nearly all of a real scan,
    are decided without interpolating anything.

    Args:
        target: Labels, shape (I, J, K); may be a view.
        scheme: Says whether logits are of classes or of regions.
        values: What to write for each class index.
        weights: How the target's voxels lie between those of the logits; None
            where they are the same.
    """

    def __init__(
        self,
        target: np.ndarray,
        scheme: LabelScheme,
        *,
        values: np.ndarray,
        weights: list[AxisWeights] | None = None,
    ) -> None:
        self._target = target
        self._scheme = scheme
        self._values = values
        self._weights = weights

    @property
    def whole(self) -> Box:
        """All voxels of the target."""
        return tuple(slice(0, n) for n in self._target.shape)

    def region(self, block: Box) -> Box:
        """The voxels of the logits that a block of the target needs."""
        if self._weights is None:
            return block
        return tuple(
            slice(
                int(one.lower[part.start]),
                int(one.upper[part.stop - 1]) + 1,
            )
            for part, one in zip(block, self._weights, strict=True)
        )

    def put(self, rows: LogitSlab, block: Box) -> None:
        """Writes the labels that rows determine.

        Args:
            rows: Of `region(block)`, in order along one axis.
            block: Voxels of the target.
        """
        kept = possible_classes(rows, self._scheme)
        values = self._values[kept.cpu().numpy()]
        classes = _classes(rows, kept, self._scheme)
        if self._weights is None:
            skip, count = rows.new - rows.first, rows.stop - rows.new
            place = with_rows(block, rows.axis, rows.new, rows.stop)
            self._write(place, classes.narrow(rows.axis, skip, count), values)
            return
        for place, near in self.determined(rows, block):
            decided = _decide(rows, classes, near, kept, self._scheme)
            self._write(place, decided, values)

    def determined(
        self, rows: LogitSlab, block: Box, *, depth: int = 0, first: int = 0
    ) -> Iterator[tuple[Box, list[AxisWeights]]]:
        """Slabs of the target whose last neighbour is among the new rows.

        Args:
            rows: Of `region(block)`, in order along one axis.
            block: Voxels of the target.
            depth: Rows of a slab; by default as many as 16 MB of labels.
            first: Slabs begin at multiples of their depth from here.

        Yields:
            Voxels of the target, and their neighbours in the rows' tensors.
        """
        assert self._weights is not None
        origin = [part.start for part in self.region(block)]
        origin[rows.axis] = rows.first
        for place in self._slabs(rows, block, depth, first):
            yield (
                place,
                [
                    one.part(part.start, part.stop, first=start).to(rows.sums.device)
                    for one, part, start in zip(
                        self._weights, place, origin, strict=True
                    )
                ],
            )

    def _slabs(
        self, rows: LogitSlab, block: Box, depth: int, first: int
    ) -> Iterator[Box]:
        assert self._weights is not None
        axis, part = rows.axis, block[rows.axis]
        upper = self._weights[axis].upper[part].numpy()
        start, stop = part.start + np.searchsorted(upper, [rows.new, rows.stop])
        per_row = prod(p.stop - p.start for p in block) // (part.stop - part.start)
        step = depth or max(1, SLAB_VALUES // per_row)
        begin, stop = int(start), int(stop)
        while begin < stop:
            end = min(begin + step - (begin - first) % step, stop)
            yield with_rows(block, axis, begin, end)
            begin = end

    def _write(self, place: Box, classes: Tensor, values: np.ndarray) -> None:
        self._target[place] = values[classes.cpu().numpy()]


def possible_classes(rows: LogitSlab, scheme: LabelScheme) -> Tensor:
    """The classes that can win in the rows, in order, shape (n,).

    One that nowhere exceeds the first is below it in every mean with positive weights
    too. Of a hundred organs, few reach into the same rows.
    """
    device = rows.sums.device
    if scheme.regions or scheme.num_classes < MANY_CLASSES:
        return torch.arange(scheme.num_classes, device=device)
    above = torch.zeros(scheme.num_classes, dtype=torch.bool, device=device)
    above[0] = True
    for _, part in _slabs_of(rows):
        above[1:] |= (part[1:] - part[:1]).flatten(1).amax(dim=1) > 0
    return above.nonzero().flatten()


def _classes(rows: LogitSlab, kept: Tensor, scheme: LabelScheme) -> Tensor:
    """The largest of the classes of each voxel, uint8; needs no division."""
    sums = rows.sums
    classes = torch.empty(sums.shape[1:], dtype=torch.uint8, device=sums.device)
    for start, part in _slabs_of(rows):
        found = largest(class_scores(_only(part, kept, scheme), scheme))
        classes.narrow(0, start, found.shape[0]).copy_(found)
    return classes


def _only(logits: Tensor, kept: Tensor, scheme: LabelScheme) -> Tensor:
    """Logits (L, ...) of some classes; all of them where they are of regions."""
    if scheme.regions or len(kept) == len(logits):
        return logits
    return logits.index_select(0, kept)


def _slabs_of(rows: LogitSlab) -> Iterator[tuple[int, Tensor]]:
    """Sums in pieces along the first axis, and where each begins.

    Whichever axis rows are finished along: pieces of the last one would touch every
    line of memory again and again.
    """
    count = rows.sums.shape[1]
    step = max(1, SLAB_VALUES * count // rows.sums.numel())
    for start in range(0, count, step):
        yield start, rows.sums.narrow(1, start, min(step, count - start))


def largest(scores: Tensor) -> Tensor:
    """Index of the largest along the first axis; max is far faster than argmax."""
    return scores.max(dim=0).indices


def _decide(
    rows: LogitSlab,
    classes: Tensor,
    near: list[AxisWeights],
    kept: Tensor,
    scheme: LabelScheme,
) -> Tensor:
    """The largest class of interpolated logits, uint8."""
    decided = _agreed(classes, near)
    mixed = decided == MIXED
    num_mixed = int(mixed.sum())
    if num_mixed > SPARSE_SHARE * decided.numel():
        return _interpolated(rows, near, kept, scheme)
    if num_mixed:
        where = mixed.nonzero()
        step = max(1, SLAB_VALUES // rows.sums.shape[0])
        decided[mixed] = torch.cat(
            [
                _pointwise(rows, near, some, kept, scheme)
                for some in torch.split(where, step)
            ]
        )
    return decided


def _agreed(classes: Tensor, near: list[AxisWeights]) -> Tensor:
    """The class of all neighbours, or `MIXED`."""
    for axis, one in enumerate(near):
        low = classes.index_select(axis, one.lower)
        high = classes.index_select(axis, one.upper)
        classes = low.masked_fill_(low != high, MIXED)
    return classes


def _interpolated(
    rows: LogitSlab, near: list[AxisWeights], kept: Tensor, scheme: LabelScheme
) -> Tensor:
    """The largest class of all voxels."""
    return torch.cat(
        [
            largest(class_scores(_only(values, kept, scheme), scheme)).to(torch.uint8)
            for _, values in interpolated_slabs(rows, near)
        ]
    )


def interpolated_slabs(
    rows: LogitSlab, near: list[AxisWeights]
) -> Iterator[tuple[int, Tensor]]:
    """Logits of all voxels, a few rows of the first axis at a time.

    Yields:
        First voxel along the first axis, and logits of shape (L, n, J, K).
    """
    shape = [len(one.lower) for one in near]
    step = max(1, SLAB_VALUES // (rows.sums.shape[0] * shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        first = near[0].part(start, start + step)
        low, high = int(first.lower[0]), int(first.upper[-1]) + 1
        values = rows.sums[:, low:high]
        if rows.weights is not None:
            values = values / rows.weights[low:high]
        yield (
            start,
            interpolate(values, [first.part(0, step, first=low), *near[1:]]),
        )


def _pointwise(
    rows: LogitSlab,
    near: list[AxisWeights],
    where: Tensor,
    kept: Tensor,
    scheme: LabelScheme,
) -> Tensor:
    """Only some voxels, given by their indices (n, 3)."""
    every = torch.arange(len(rows.sums), device=rows.sums.device)
    chosen = (every if scheme.regions else kept).unsqueeze(1)
    total = torch.zeros((len(chosen), len(where)), device=rows.sums.device)
    for corner in itertools.product((0, 1), repeat=3):
        share: Tensor | float = 1.0
        place = []
        for axis, (one, is_upper) in enumerate(zip(near, corner, strict=True)):
            index = where[:, axis]
            weight = one.weight[index]
            share = share * (weight if is_upper else 1 - weight)
            place.append((one.upper if is_upper else one.lower)[index])
        i, j, k = place
        if rows.weights is not None:
            share = share / rows.weights[i, j, k]
        total.addcmul_(rows.sums[chosen, i, j, k], torch.as_tensor(share))
    return largest(class_scores(total, scheme)).to(torch.uint8)
