"""What windows answer, summed up and divided by their weights as rows are finished.

MONAI adds windows up in a volume and their weights in another. The weights are the same
at each step along the first axis, so that one step of them is enough; and rows that no
window adds to any more can be divided at once, and leave the device of the sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.inference.rolling import BlendWeights, RollingSum, depth_needed
from medseg.inference.tiling import Box, Tile, Tiling
from medseg.monai.windows import WindowGrid

AXIS = 0
"""MONAI's windows come with the first axis outermost."""


@dataclass(frozen=True)
class OutputGrid:
    """The windows of a grid as one output of the predictor has them.

    Attributes:
        size: Voxels of an image of the output.
        boxes: Windows, in the order of the grid.
        importance: Weights of a window's voxels.
        scale: Voxels of the output for one of the input, along each axis.
    """

    size: tuple[int, ...]
    boxes: tuple[Box, ...]
    importance: Tensor
    scale: tuple[float, ...]

    def on(self, device: torch.device) -> "OutputGrid":
        """The same with its weights on a device."""
        return replace(self, importance=self.importance.to(device))

    def tiling(self) -> Tiling:
        """The same as the sums know it."""
        tiles = tuple(Tile(box, box, box) for box in self.boxes)
        return Tiling(tiles, self.size, AXIS, self.importance)

    @property
    def region(self) -> Box:
        """All voxels."""
        return tuple(slice(0, n) for n in self.size)


def output_grid(
    grid: WindowGrid, answer_size: Sequence[int], importance: Tensor
) -> OutputGrid:
    """Windows for answers of another size than the windows, as MONAI scales them.

    Args:
        grid: Windows over the input.
        answer_size: Voxels that the predictor answers for a window.
        importance: Weights of the last scaled output's windows, which MONAI scales on.
    """
    if tuple(answer_size) == grid.window:
        ones = (1.0,) * len(grid.window)
        return OutputGrid(grid.size, grid.boxes, grid.importance, ones)
    scale = tuple(a / w for a, w in zip(answer_size, grid.window, strict=True))
    size = tuple(int(n * z) for n, z in zip(grid.size, scale, strict=True))
    boxes = tuple(
        tuple(
            slice(int(part.start * z), int(part.stop * z))
            for part, z in zip(box, scale, strict=True)
        )
        for box in grid.boxes
    )
    scaled = F.interpolate(
        importance[None, None], tuple(answer_size), mode="nearest-exact"
    )
    return OutputGrid(size, boxes, scaled[0, 0], scale)


class SumsInPlace:
    """Sums in the tensor that is returned, divided there as rows are finished."""

    def __init__(self, grid: OutputGrid, *, num_images: int, num_channels: int) -> None:
        """Takes memory for the answer.

        Args:
            grid: The windows; the answer is where their weights are.
            num_images: Images of the batch.
            num_channels: Channels of the output.
        """
        self.grid = grid
        self.values = grid.importance.new_zeros((num_images, num_channels, *grid.size))
        self._weights = _weights(grid)

    def add(self, image: int, window: int, answer: Tensor) -> None:
        """Adds what was answered for a window, shape (C, *window)."""
        box = (slice(None), *self.grid.boxes[window])
        new = answer.to(self.values)
        self.values[image][box].addcmul_(new, self.grid.importance)

    def finish(self, image: int, first: int, stop: int) -> None:
        """Divides rows that no window adds to any more."""
        self.values[image, :, first:stop].div_(self._weights.rows(first, stop))


class SumsOnDevice:
    """Sums of the unfinished rows on one device; finished ones go to another."""

    def __init__(
        self,
        grid: OutputGrid,
        batches: Sequence[Sequence[tuple[int, int]]],
        *,
        num_images: int,
        num_channels: int,
        device: torch.device,
    ) -> None:
        """Takes memory for the answer, and for the rows of a window.

        Args:
            grid: The windows; the sums are where their weights are.
            batches: Which windows arrive together: images and numbers of boxes.
            num_images: Images of the batch.
            num_channels: Channels of the output.
            device: Where the answer is.
        """
        self.grid = grid
        shape = (num_images, num_channels, *grid.size)
        self.values = torch.empty(shape, dtype=grid.importance.dtype, device=device)
        self._weights = _weights(grid)
        self._sums = [
            _rolling(grid, [[w for n, w in batch if n == image] for batch in batches])
            for image in range(num_images)
        ]

    def add(self, image: int, window: int, answer: Tensor) -> None:
        """Adds what was answered for a window, shape (C, *window)."""
        new = answer.to(self.grid.importance)
        self._sums[image].add(new, self.grid.boxes[window], self.grid.importance)

    def finish(self, image: int, first: int, stop: int) -> None:
        """Divides rows that no window adds to any more, and sends them on."""
        sums = self._sums[image]
        for start, end, part in sums.finished(first, stop):
            new = part.narrow(
                AXIS + 1, part.shape[AXIS + 1] - (end - start), end - start
            )
            self.values[image, :, start:end] = new / self._weights.rows(start, end)
        sums.forget(stop - 1)


def _weights(grid: OutputGrid) -> BlendWeights:
    return BlendWeights(grid.tiling(), grid.region, device=grid.importance.device)


def _rolling(grid: OutputGrid, batches: Sequence[Sequence[int]]) -> RollingSum:
    targets = [[grid.boxes[w] for w in batch] for batch in batches if batch]
    depth = depth_needed(targets, axis=AXIS, rows=grid.region[AXIS])
    return RollingSum(
        region=grid.region,
        axis=AXIS,
        depth=depth,
        device=grid.importance.device,
        dtype=grid.importance.dtype,
    )
