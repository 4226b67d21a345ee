"""Probabilities on the scan's own grid, beside the labels they decided."""

import numpy as np
import torch
from torch import Tensor

from medseg.inference.interpolation import axis_weights
from medseg.inference.label_writer import LabelWriter, interpolated_slabs
from medseg.inference.probability_file import ProbabilityFile
from medseg.inference.streaming import LogitSlab
from medseg.inference.tiling import Box
from medseg.labels import LabelScheme
from medseg.placement import Placement, slices_of


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
