"""Probabilities on the scan's own grid, streamed to a file of any size."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.errors import OutputError
from medseg.files import atomic_write
from medseg.inference.byte_sizes import in_words
from medseg.inference.interpolation import axis_weights
from medseg.inference.label_writer import LabelWriter, interpolated_slabs
from medseg.inference.streaming import Rows
from medseg.inference.tiling import Box
from medseg.labels import LabelScheme
from medseg.preparation.placement import Placement, slices_of


class ProbabilityWriter(LabelWriter):
    """Writes labels, and beside them what they were decided by."""

    def __init__(
        self,
        labels: np.ndarray,
        probabilities: np.ndarray,
        placement: Placement,
        scheme: LabelScheme,
    ) -> None:
        """Takes where both go.

        Args:
            labels: Label values on the cropped grid; may be a view.
            probabilities: Shape (L, *cropped grid), float16; may be a view of a file.
            placement: What `preprocess` returned for the scan.
            scheme: Softmax over classes, or a sigmoid for each of its regions.
        """
        super().__init__(
            labels,
            scheme,
            values=scheme.to_values(np.arange(scheme.num_classes, dtype=np.uint8)),
            weights=axis_weights(placement),
        )
        self._probabilities = probabilities
        self._has_regions = bool(scheme.regions)

    def put(self, rows: Rows, block: Box) -> None:
        """Writes labels and probabilities that rows determine."""
        super().put(rows, block)
        for place, near in self.determined(rows, block):
            for start, logits in interpolated_slabs(rows, near):
                first = place[0].start + start
                part = (slice(first, first + logits.shape[1]), *place[1:])
                shares = self._shares(logits).half().cpu().numpy()
                self._probabilities[(slice(None), *part)] = shares

    def _shares(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits) if self._has_regions else logits.softmax(dim=0)


@contextmanager
def probability_file(
    path: Path, placement: Placement, scheme: LabelScheme
) -> Iterator[np.ndarray]:
    """A float16 .npy file of shape (L, I, J, K), on the scan's own grid, to fill.

    What is never filled (cropped away) is certain background. The file appears under
    its name when the block succeeds; `numpy.load(path, mmap_mode="r")` opens it.

    Raises:
        OutputError: The disk has not enough room, or cannot be written.
    """
    channels = len(scheme.regions) or scheme.num_classes
    shape = (channels, *placement.source.shape)
    needed = 2 * int(np.prod(shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OutputError(
            f"{path}: probabilities take {in_words(needed)}, the disk has "
            f"{in_words(free)}; leave --probabilities away or free some space"
        )
    with atomic_write(path) as temporary:
        values = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.float16, shape=shape
        )
        if not scheme.regions and placement.crop != _whole(placement):
            values[0] = 1
        yield values
        values.flush()
        del values


def on_cropped_grid(values: np.ndarray, placement: Placement) -> np.ndarray:
    """A view of an array on the scan's grid (last three axes) as it is cropped."""
    turned = placement.reorientation.apply(values)
    return turned[(..., *slices_of(placement.crop))]


def _whole(placement: Placement) -> tuple[tuple[int, int], ...]:
    return tuple((0, n) for n in placement.reoriented.shape)
