"""Slices as windows one voxel deep, so that 2D and 3D are streamed alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from medseg.inference.exact_tiling import SLICES, ExactAxis
from medseg.inference.streaming import LogitSlab, Predict
from medseg.inference.tiling import Box


@dataclass(frozen=True)
class AxisLayout:
    """How the axes (i, j, k) of a prepared scan are ordered for streaming.

    A network of two dimensions sees slices along k; k comes first, so that a slice is
    contiguous, and a window of slices has a depth of 1.
    """

    spatial_dims: int

    @property
    def order(self) -> tuple[int, int, int]:
        """For each axis of the stream, the axis of the scan."""
        return (2, 0, 1) if self.spatial_dims == 2 else (0, 1, 2)

    def image(self, image: Tensor) -> Tensor:
        """The scan (C, I, J, K) as it is streamed; a view."""
        return image.permute(0, *(axis + 1 for axis in self.order))

    def box(self, box: Box) -> Box:
        """A box of the scan in the order of the stream."""
        return tuple(box[axis] for axis in self.order)

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a scan in the order of the stream."""
        return tuple(shape[axis] for axis in self.order)

    def window(self, size: Sequence[int]) -> tuple[int, ...]:
        """A window of the network with an entry for each axis of the stream."""
        return (1, *size) if self.spatial_dims == 2 else tuple(size)

    def axes(self, axes: Sequence[ExactAxis]) -> tuple[ExactAxis, ...]:
        """How the stream can be cut exactly, given how the network can."""
        return (SLICES, *axes) if self.spatial_dims == 2 else tuple(axes)

    def rows(self, rows: LogitSlab) -> LogitSlab:
        """Rows of the stream with the scan's axes."""
        return rows.with_axes((1, 2, 0)) if self.spatial_dims == 2 else rows

    def predict(self, predict: Predict) -> Predict:
        """A network that takes windows of the stream."""
        if self.spatial_dims == 3:
            return predict
        return lambda batch: predict(batch[:, :, 0]).unsqueeze(2)
