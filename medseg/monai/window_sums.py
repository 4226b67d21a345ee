"""MONAI's windows over an image, and their answers summed up and divided by weights.

References:
    `monai.inferers.sliding_window_inference`, MONAI 1.6: what the arguments mean.

MONAI adds windows up in a volume and their weights in another. The weights are the same
at each step along the first axis, so that one step of them is enough; and rows that no
window adds to any more can be divided at once, and leave the device of the sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.utils.enums import BlendMode, PytorchPadMode
from monai.utils.misc import ensure_tuple_rep, fall_back_tuple
from monai.utils.module import look_up_option
from torch import Tensor
from torch.nn import functional as F

from medseg.inference.rolling import BlendWeights, RollingSum, depth_needed
from medseg.inference.tiling import Box, Tile, Tiling


@dataclass(frozen=True)
class WindowGrid:
    """The windows over one image of a batch, as large as they are or padded.

    Attributes:
        size: Voxels of an image, padded to a window at least.
        window: Voxels of a window.
        boxes: Windows in MONAI's order, the first axis outermost.
        padding: Voxels added before and after each axis.
        importance: Weights of a window's voxels, shape (*window).
    """

    size: tuple[int, ...]
    window: tuple[int, ...]
    boxes: tuple[Box, ...]
    padding: tuple[tuple[int, int], ...]
    importance: Tensor

    def padded(self, images: Tensor, *, mode: str, value: float) -> Tensor:
        """Images (N, C, *spatial) with the padding around them."""
        if not any(map(any, self.padding)):
            return images
        flat = [number for pair in reversed(self.padding) for number in pair]
        return F.pad(images, flat, look_up_option(mode, PytorchPadMode), value)

    def batches(
        self, num_images: int, batch_size: int
    ) -> Iterator[list[tuple[int, int]]]:
        """Which windows go to the predictor at once: images and numbers of boxes."""
        count = len(self.boxes)
        for first in range(0, num_images * count, batch_size):
            last = min(first + batch_size, num_images * count)
            yield [divmod(index, count) for index in range(first, last)]


def window_grid(
    images: Tensor,
    roi_size: Sequence[int] | int,
    *,
    overlap: Sequence[float] | float,
    mode: BlendMode | str,
    sigma_scale: Sequence[float] | float,
    roi_weight_map: Tensor | None,
    device: torch.device,
) -> WindowGrid:
    """MONAI's windows over images of a size.

    Args:
        images: Shape (N, C, *spatial); their size, type and number of axes count.
        roi_size: Voxels of a window; none or less is the whole axis.
        overlap: Share of a window that its neighbour covers again, below 1.
        mode: How windows are blended.
        sigma_scale: Deviation of the Gaussian as a share of the window.
        roi_weight_map: Weights in place of those of the mode.
        device: Where the weights are.
    """
    shape = tuple(images.shape[2:])
    window = tuple(int(n) for n in fall_back_tuple(roi_size, shape))
    size = tuple(max(n, w) for n, w in zip(shape, window, strict=True))
    spare = [n - old for n, old in zip(size, shape, strict=True)]
    padding = tuple((gap // 2, gap - gap // 2) for gap in spare)
    overlaps = ensure_tuple_rep(overlap, len(shape))
    steps = [
        w if w == n else max(1, int(w * (1 - share)))
        for n, w, share in zip(size, window, overlaps, strict=True)
    ]
    boxes: Any = dense_patch_slices(size, window, steps)
    if roi_weight_map is None:
        importance = compute_importance_map(
            window, mode=mode, sigma_scale=sigma_scale, device=device
        )
    else:
        importance = torch.as_tensor(roi_weight_map).reshape(window)
    importance = importance.to(device=device, dtype=images.dtype)
    whole = tuple(tuple(slice(int(s.start), int(s.stop)) for s in b) for b in boxes)
    return WindowGrid(size, window, whole, padding, importance)


def grid_or_none(
    inputs: Tensor,
    roi_size: Sequence[int] | int,
    overlap: Sequence[float] | float,
    mode: BlendMode | str,
    sigma_scale: Sequence[float] | float,
    roi_weight_map: Tensor | None,
    sw_device: torch.device | str | None,
) -> WindowGrid | None:
    """The windows; None where MONAI has to say what is wrong."""
    axes = inputs.ndim - 2
    if axes < 1 or not inputs.is_floating_point() or inputs.numel() == 0:
        return None
    if isinstance(roi_size, Sequence) and len(roi_size) != axes:
        return None
    try:
        if not all(0 <= share < 1 for share in ensure_tuple_rep(overlap, axes)):
            return None
        return window_grid(
            without_meta_data(inputs),
            roi_size,
            overlap=overlap,
            mode=mode,
            sigma_scale=sigma_scale,
            roi_weight_map=roi_weight_map,
            device=torch.device(sw_device or inputs.device),
        )
    except (TypeError, ValueError, RuntimeError):
        return None


def without_meta_data(inputs: Tensor) -> Tensor:
    """Images without MONAI's meta data."""
    as_tensor = getattr(inputs, "as_tensor", None)
    return inputs if as_tensor is None else as_tensor()


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
