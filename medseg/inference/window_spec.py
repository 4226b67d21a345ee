"""Which windows a scan is cut into; slices are windows one voxel deep."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from torch import Tensor

from medseg.inference.exact_tiling import SLICES, ExactAxis, exact_tiling
from medseg.inference.streaming import LogitSlab, Predict
from medseg.inference.tiling import Box, Tiling, blended_tiling

SMALLEST = 16
"""Windows are not halved below this, nor below twice the network's stride."""


REFERENCE_OVERLAP = 0.5
"""Of the windows that all others are compared with, as in nnU-Net."""


@dataclass(frozen=True)
class WindowSpec:
    """Size and overlap of windows, in the order of the stream's axes.

    Attributes:
        size: Voxels of a window.
        overlap: Share that the next window covers again, where they are blended.
        exact: How the network is cut exactly; None to blend.
        divisor: Sizes are kept multiples of it.
    """

    size: tuple[int, ...]
    overlap: float
    exact: tuple[ExactAxis, ...] | None = None
    divisor: tuple[int, ...] = ()

    def tiling(self, shape: tuple[int, ...], *, axis: int) -> Tiling:
        """Windows over an image; blended where exact ones leave nothing to keep."""
        if self.exact is not None:
            exact = exact_tiling(shape, self.exact, window=self.size, axis=axis)
            if exact is not None:
                return exact
        return blended_tiling(shape, window=self.size, overlap=self.overlap, axis=axis)

    def halved(self) -> "WindowSpec | None":
        """Half the voxels, along the longest axis; None where that is too small."""
        steps = self.divisor or (1,) * len(self.size)
        for axis in sorted(range(len(self.size)), key=lambda a: -self.size[a]):
            step = steps[axis]
            half = -(-self.size[axis] // 2 // step) * step
            if SMALLEST <= half < self.size[axis] and half >= 2 * step:
                size = (*self.size[:axis], half, *self.size[axis + 1 :])
                return replace(self, size=size)
        return None

    @property
    def voxels(self) -> int:
        """Voxels of a window."""
        return prod(self.size)

    def describe(self) -> str:
        """The windows in words."""
        size = " x ".join(str(n) for n in self.size)
        if self.exact is not None:
            return f"{size}, exact halo"
        return f"{size}, overlap {self.overlap:g}"


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
