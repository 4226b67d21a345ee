"""Probabilities on the scan's own grid, in a compressed file, as they come."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.errors import OutputError
from medseg.files import atomic_write
from medseg.inference.interpolation import axis_weights
from medseg.inference.label_writer import LabelWriter, interpolated_slabs
from medseg.inference.streaming import LogitSlab
from medseg.inference.tiling import Box
from medseg.labels import LabelScheme
from medseg.placement import Placement, slices_of

LAYER_VALUES = 16_000_000
"""Values of a layer of chunks, all classes: 32 MB, written at once."""

LAYER_DEPTH = 32
"""Most rows of a layer."""

CHUNK_WIDTH = 256
"""Most voxels of a chunk across the rows."""


class ProbabilityFile:
    """Float16 values of shape (L, I, J, K) on a scan's own grid.

    Chunks are flat along the axis that rows arrive on, so that each is compressed
    once, by its first and nearly always only writing. Nearly all voxels of a scan
    are certain: a file takes a small part of what its shape would.
    """

    def __init__(self, path: Path, placement: Placement, scheme: LabelScheme) -> None:
        """Nothing is written before the first rows say along which axis they come.

        Args:
            path: Ends in .b2nd.
            placement: What `preprocess` returned for the scan.
            scheme: Says how many channels there are, and what no network saw: certain
                background.
        """
        self._path = path
        self._placement = placement
        self._has_background = not scheme.regions
        self.shape = (
            len(scheme.regions) or scheme.num_classes,
            *placement.source.shape,
        )
        self._array: Any = None

    def boundaries(self, axis: int) -> tuple[int, int]:
        """Where layers begin along an axis of the cropped grid.

        Returns:
            Rows of a layer, and the first boundary: voxels of the cropped grid that
            are congruent to it begin a layer.
        """
        old = self._placement.reorientation.order[axis]
        depth = self._depth(old)
        start = self._placement.crop[axis][0]
        if self._placement.reorientation.flips[axis]:
            return depth, (self.shape[old + 1] - start) % depth
        return depth, -start % depth

    def put(self, place: Box, shares: np.ndarray, *, axis: int) -> None:
        """Writes a block of the cropped grid.

        Args:
            place: Voxels of the cropped grid.
            shares: Shape (L, *place).
            axis: That rows arrive on.

        Raises:
            OutputError: The disk is full.
        """
        turn = self._placement.reorientation
        source = [slice(0)] * 3
        for new, (part, (first, _)) in enumerate(
            zip(place, self._placement.crop, strict=True)
        ):
            old = turn.order[new]
            start, stop = part.start + first, part.stop + first
            if turn.flips[new]:
                size = self.shape[old + 1]
                start, stop = size - stop, size - start
            source[old] = slice(start, stop)
        self._write((slice(None), *source), turn.undo(shares), along=turn.order[axis])

    def finish(self) -> None:
        """The file exists, whatever was put into it."""
        if self._array is None:
            self._start(along=0)
        self._array = None

    def _write(self, place: Box, values: np.ndarray, *, along: int) -> None:
        if self._array is None:
            self._start(along=along)
        try:
            self._array[place] = np.ascontiguousarray(values)
        except RuntimeError as error:  # blosc2 does not say why
            raise OutputError(
                f"{self._path}: probabilities cannot be written, the disk may be "
                "full; leave --probabilities away or free some space"
            ) from error

    def _start(self, *, along: int) -> None:
        import blosc2

        depth = self._depth(along)
        chunks = [1, *(min(CHUNK_WIDTH, n) for n in self.shape[1:])]
        chunks[along + 1] = depth
        self._array = blosc2.zeros(
            self.shape,
            dtype=np.float16,
            urlpath=str(self._path),
            mode="w",
            contiguous=True,
            chunks=tuple(chunks),
            cparams={
                "codec": blosc2.Codec.LZ4,
                "clevel": 5,
                "filters": [blosc2.Filter.BITSHUFFLE],
                "filters_meta": [0],
                "nthreads": 1,
            },
        )
        if self._has_background and self._is_cropped:
            self._fill_background(along, depth)

    def _fill_background(self, along: int, depth: int) -> None:
        size = self.shape[along + 1]
        for start in range(0, size, depth):
            place = [slice(0, 1), *(slice(0, n) for n in self.shape[1:])]
            place[along + 1] = slice(start, min(start + depth, size))
            shape = [part.stop - part.start for part in place]
            self._write(tuple(place), np.ones(shape, np.float16), along=along)

    @property
    def _is_cropped(self) -> bool:
        return self._placement.cropped.shape != self._placement.reoriented.shape

    def _depth(self, along: int) -> int:
        """Rows of a layer along an axis of the scan."""
        size = self.shape[along + 1]
        per_row = int(np.prod(self.shape)) // size
        return max(1, min(LAYER_DEPTH, size, LAYER_VALUES // per_row))


@contextmanager
def probability_file(
    path: Path, placement: Placement, scheme: LabelScheme
) -> Iterator[ProbabilityFile]:
    """A file to fill, which appears under its name when the block succeeds.

    `blosc2.open(path)` opens it; indexing reads what is asked for.

    Raises:
        OutputError: The disk is full, or cannot be written.
    """
    with atomic_write(path) as temporary:
        file = ProbabilityFile(temporary, placement, scheme)
        yield file
        file.finish()


class ProbabilityWriter(LabelWriter):
    """Writes labels, and beside them what they were decided by.

    Args:
        labels: Label values on the cropped grid; may be a view.
        file: Takes probabilities on the cropped grid.
        placement: What `preprocess` returned for the scan.
        scheme: Softmax over classes, or a sigmoid for each of its regions.
    """

    def __init__(
        self,
        labels: np.ndarray,
        file: ProbabilityFile,
        placement: Placement,
        scheme: LabelScheme,
    ) -> None:
        super().__init__(
            labels,
            scheme,
            values=scheme.to_values(np.arange(scheme.num_classes, dtype=np.uint8)),
            weights=axis_weights(placement),
        )
        self._file = file
        self._has_regions = bool(scheme.regions)

    def put(self, rows: LogitSlab, block: Box) -> None:
        """Writes labels and probabilities that rows determine."""
        super().put(rows, block)
        depth, first = self._file.boundaries(rows.axis)
        for place, near in self.determined(rows, block, depth=depth, first=first):
            shape = [part.stop - part.start for part in place]
            shares = np.empty((self._file.shape[0], *shape), np.float16)
            for start, logits in interpolated_slabs(rows, near):
                part = shares[:, start : start + logits.shape[1]]
                part[:] = self._shares(logits).half().cpu().numpy()
            self._file.put(place, shares, axis=rows.axis)

    def _shares(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits) if self._has_regions else logits.softmax(dim=0)


def on_cropped_grid(values: np.ndarray, placement: Placement) -> np.ndarray:
    """A view of an array on the scan's grid (last three axes) as it is cropped."""
    turned = placement.reorientation.apply(values)
    return turned[(..., *slices_of(placement.crop))]
