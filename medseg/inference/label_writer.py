"""Finished rows of logits to labels, on a finer or coarser grid."""

import itertools
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from medseg.device import send
from medseg.inference.host_copies import HostCopies
from medseg.inference.interpolation import AxisWeights, between, interpolate
from medseg.inference.streaming import LogitSlab
from medseg.inference.tiling import Box, with_rows
from medseg.labels import LabelScheme


def region_membership(scheme: LabelScheme) -> Tensor:
    """Which class lies in which region, shape (classes, regions), 0 or 1."""
    members = torch.zeros(scheme.num_classes, len(scheme.regions))
    for column, names in enumerate(scheme.regions.values()):
        for name in names:
            members[scheme.structures.index(name) + 1, column] = 1
    return members


def class_scores(logits: Tensor, scheme: LabelScheme) -> Tensor:
    """One score per class and voxel, whose largest is the decision.

    For plain labels these are the logits. For regions with independent sigmoids the
    log-likelihood of class c is, up to a term that all classes share, the sum of the
    logits of the regions that contain c; it is linear in the logits, so that
    interpolating before or after is the same.

    Args:
        logits: Shape (L, *spatial).
        scheme: Says whether L counts classes or regions.

    Returns:
        Shape (classes, *spatial).
    """
    if not scheme.regions:
        return logits
    members = send(region_membership(scheme), logits.device).to(logits.dtype)
    scores: Tensor = torch.tensordot(members, logits, dims=1)
    return scores


def decide(logits: Tensor, scheme: LabelScheme) -> np.ndarray:
    """Label index of each voxel, uint8, shape (*spatial)."""
    best = class_scores(logits, scheme).argmax(dim=0)
    return best.to(torch.uint8).cpu().numpy()


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
        self._copies = HostCopies()
        self._on_device: list[AxisWeights] = []

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
        values = self._values if kept is None else self._values[kept.numpy()]
        classes = _classes(rows, kept, self._scheme)
        if self._weights is None:
            skip, count = rows.new - rows.first, rows.stop - rows.new
            place = with_rows(block, rows.axis, rows.new, rows.stop)
            self._write(place, classes.narrow(rows.axis, skip, count), values)
            return
        for place, near in self.determined(rows, block):
            decided = _decide(rows, classes, near, kept, self._scheme)
            self._write(place, decided, values)

    def finish(self) -> None:
        """After the last rows: waits for those that a GPU has not handed over yet."""
        self._copies.finish()

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
        weights = self._weights_on(rows.sums.device)
        origin = [part.start for part in self.region(block)]
        origin[rows.axis] = rows.first
        for place in self._slabs(rows, block, depth, first):
            yield (
                place,
                [
                    one.part(part.start, part.stop, first=start)
                    for one, part, start in zip(weights, place, origin, strict=True)
                ],
            )

    def _weights_on(self, device: torch.device) -> list[AxisWeights]:
        """The weights on a device, sent there once."""
        assert self._weights is not None
        if not self._on_device or self._on_device[0].weight.device != device:
            self._on_device = [one.to(device) for one in self._weights]
        return self._on_device

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
        def write(found: np.ndarray) -> None:
            self._target[place] = values[found]

        self._copies.use(classes, write)


def possible_classes(rows: LogitSlab, scheme: LabelScheme) -> Tensor | None:
    """The classes that can win in the rows, in order, shape (n,); None for all.

    One that nowhere exceeds the first is below it in every mean with positive weights
    too. Of a hundred organs, few reach into the same rows. A GPU is not asked: it would
    be waited for, and goes through all classes in less time.
    """
    on_gpu = rows.sums.device.type != "cpu"
    if on_gpu or scheme.regions or scheme.num_classes < MANY_CLASSES:
        return None
    above = torch.zeros(scheme.num_classes, dtype=torch.bool)
    above[0] = True
    for _, part in _slabs_of(rows):
        above[1:] |= (part[1:] - part[:1]).flatten(1).amax(dim=1) > 0
    return above.nonzero().flatten()


def _classes(rows: LogitSlab, kept: Tensor | None, scheme: LabelScheme) -> Tensor:
    """The largest of the classes of each voxel, uint8; needs no division."""
    sums = rows.sums
    classes = torch.empty(sums.shape[1:], dtype=torch.uint8, device=sums.device)
    for start, part in _slabs_of(rows):
        found = largest(class_scores(_only(part, kept), scheme))
        classes.narrow(0, start, found.shape[0]).copy_(found)
    return classes


def _only(logits: Tensor, kept: Tensor | None) -> Tensor:
    """Logits (L, ...) of some classes."""
    if kept is None or len(kept) == len(logits):
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
    kept: Tensor | None,
    scheme: LabelScheme,
) -> Tensor:
    """The largest class of interpolated logits, uint8; a GPU is waited for once."""
    decided = _agreed(classes, near)
    flat = decided.view(-1)
    mixed = (flat == MIXED).nonzero().flatten()
    if len(mixed) > SPARSE_SHARE * len(flat):
        return _interpolated(rows, near, kept, scheme)
    if len(mixed):
        step = max(1, SLAB_VALUES // rows.sums.shape[0])
        parts = [
            _pointwise(rows, near, _indices(some, decided.shape), kept, scheme)
            for some in torch.split(mixed, step)
        ]
        flat.index_copy_(0, mixed, torch.cat(parts))
    return decided


def _indices(flat: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Along each of three axes, where voxels lie that are counted through."""
    plane = shape[1] * shape[2]
    within = flat % plane
    return flat // plane, within // shape[2], within % shape[2]


def _agreed(classes: Tensor, near: list[AxisWeights]) -> Tensor:
    """The class of all neighbours, or `MIXED`."""
    for axis, one in enumerate(near):
        low = classes.index_select(axis, one.lower)
        high = classes.index_select(axis, one.upper)
        classes = low.masked_fill_(low != high, MIXED)
    return classes


def _interpolated(
    rows: LogitSlab, near: list[AxisWeights], kept: Tensor | None, scheme: LabelScheme
) -> Tensor:
    """The largest class of all voxels."""
    return torch.cat(
        [
            largest(class_scores(_only(values, kept), scheme)).to(torch.uint8)
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
        lower, upper = _logits_of(rows, first.lower), _logits_of(rows, first.upper)
        values = between(lower, upper, first, axis=1)
        yield start, interpolate(values, near[1:], axis=2)


def _logits_of(rows: LogitSlab, places: Tensor) -> Tensor:
    """Logits at places along the first axis, (L, n, J, K)."""
    values = rows.sums.index_select(1, places)
    if rows.weights is not None:
        values /= rows.weights.index_select(0, places)
    return values


def _pointwise(
    rows: LogitSlab,
    near: list[AxisWeights],
    where: tuple[Tensor, Tensor, Tensor],
    kept: Tensor | None,
    scheme: LabelScheme,
) -> Tensor:
    """Only some voxels, given by their indices along each axis, (n,) each."""
    sides = [
        (
            (one.lower[index], 1 - (weight := one.weight[index])),
            (one.upper[index], weight),
        )
        for one, index in zip(near, where, strict=True)
    ]
    chosen = slice(None) if kept is None else kept.unsqueeze(1)
    total: Tensor | None = None
    for corner in itertools.product(*sides):
        (i, a), (j, b), (k, c) = corner
        share = a * b * c
        if rows.weights is not None:
            share /= rows.weights[i, j, k]
        part = rows.sums[chosen, i, j, k]
        total = part.mul_(share) if total is None else total.addcmul_(part, share)
    assert total is not None
    return largest(class_scores(total, scheme)).to(torch.uint8)
