"""What a predictor answers for MONAI's windows, and what becomes of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.utils.type_conversion import convert_to_dst_type
from torch import Tensor

from medseg.monai.window_sums import (
    AXIS,
    OutputGrid,
    SumsInPlace,
    SumsOnDevice,
    WindowGrid,
    output_grid,
)

Answer = Tensor | tuple[Tensor, ...] | dict[Any, Tensor]
"""What a sliding window returns."""
Predictor = Callable[..., Tensor | Sequence[Tensor] | dict[Any, Tensor]]
"""Called with windows (n, C, *window), it returns an output or several."""


class WindowCall:
    """Calls a predictor for windows as MONAI does."""

    def __init__(
        self,
        predictor: Predictor,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        with_coord: bool,
    ) -> None:
        """Keeps what the predictor is given beside the windows."""
        self._predictor = predictor
        self._args = args
        self._kwargs = kwargs
        self._with_coord = with_coord

    def __call__(
        self, images: Tensor, grid: WindowGrid, batch: Sequence[tuple[int, int]]
    ) -> Any:
        """The answer for windows, given as images and numbers of boxes."""
        coords = [
            [slice(image, image + 1), slice(None), *grid.boxes[window]]
            for image, window in batch
        ]
        data = torch.cat([images[tuple(place)] for place in coords])
        first = [coords] if self._with_coord else []
        data = data.to(grid.importance.device)
        return self._predictor(data, *first, *self._args, **self._kwargs)


class Outputs:
    """Sums of each of the predictor's outputs, made when the first answer is there."""

    def __init__(
        self,
        grid: WindowGrid,
        batches: Sequence[Sequence[tuple[int, int]]],
        *,
        device: torch.device,
        only_first: bool,
    ) -> None:
        """Holds nothing yet.

        Args:
            grid: The windows.
            batches: Which arrive together: images and numbers of boxes.
            device: Where the answer is wanted.
            only_first: Leave all outputs but the first one out.
        """
        self._grid = grid
        self._batches = batches
        self._device = device
        self._only_first = only_first
        self._keys: list[Any] | None = None
        self._sums: list[SumsInPlace | SumsOnDevice] = []
        self._finished: dict[tuple[int, int], int] = {}

    def add(self, number: int, answer: Any) -> None:
        """Adds the answer for a batch of windows, and finishes what it can."""
        self._keys, outputs = flat_answer(answer)
        if self._only_first:
            outputs = outputs[:1]
        if not self._sums:
            self._sums = self._make(outputs)
        batch = self._batches[number]
        for sums, output in zip(self._sums, outputs, strict=True):
            for (image, window), one in zip(batch, output, strict=False):
                sums.add(image, window, one)
        for image in sorted({image for image, _ in batch}):
            self._finish(image, batch)

    def answer(self) -> Any:
        """The outputs without padding, as the predictor gave them."""
        values = [self._cropped(sums) for sums in self._sums]
        if self._keys is not None:
            return dict(zip(self._keys, values, strict=False))
        return values[0] if len(values) == 1 else tuple(values)

    def _make(self, outputs: Sequence[Tensor]) -> list[SumsInPlace | SumsOnDevice]:
        made: list[SumsInPlace | SumsOnDevice] = []
        importance = self._grid.importance
        num_images = 1 + max(image for batch in self._batches for image, _ in batch)
        for output in outputs:
            own = output_grid(self._grid, output.shape[2:], importance)
            if own.boxes is not self._grid.boxes:
                importance = own.importance
            made.append(self._sums_of(own, output, num_images))
        return made

    def _sums_of(
        self, grid: OutputGrid, output: Tensor, num_images: int
    ) -> SumsInPlace | SumsOnDevice:
        channels = output.shape[1]
        if _same(grid.importance.device, self._device) or output.requires_grad:
            return SumsInPlace(
                grid.on(self._device), num_images=num_images, num_channels=channels
            )
        return SumsOnDevice(
            grid,
            self._batches,
            num_images=num_images,
            num_channels=channels,
            device=self._device,
        )

    def _finish(self, image: int, batch: Sequence[tuple[int, int]]) -> None:
        """Divides the rows of an image before the next window's first one."""
        following = 1 + max(window for n, window in batch if n == image)
        for index, sums in enumerate(self._sums):
            boxes = sums.grid.boxes
            is_last = following == len(boxes)
            stop = sums.grid.size[AXIS] if is_last else boxes[following][AXIS].start
            first = self._finished.get((index, image), 0)
            if stop > first:
                sums.finish(image, first, stop)
                self._finished[index, image] = stop

    def _cropped(self, sums: SumsInPlace | SumsOnDevice) -> Tensor:
        kept: list[slice] = [slice(None), slice(None)]
        for (before, after), scale, size in zip(
            self._grid.padding, sums.grid.scale, self._grid.size, strict=True
        ):
            stop = size - after
            kept.append(slice(round(before * scale), round(stop * scale)))
        return sums.values[tuple(kept)]


def flat_answer(answer: Any) -> tuple[list[Any] | None, list[Tensor]]:
    """Keys, if there are any, and outputs in their order."""
    if isinstance(answer, Tensor):
        return None, [answer]
    if isinstance(answer, Mapping):
        keys = sorted(answer)
        return keys, [answer[key] for key in keys]
    return None, list(answer)


def like_inputs(answer: Any, inputs: Tensor, device: torch.device) -> Any:
    """The answer with the meta data of the inputs, where they have some."""
    if not hasattr(inputs, "copy_meta_from"):
        return convert_to_dst_type(answer, inputs, device=device)[0]
    from monai.data.meta_tensor import MetaTensor

    empty: Any = MetaTensor([])
    empty.copy_meta_from(inputs, copy_attr=False)
    return convert_to_dst_type(answer, empty, device=device)[0]


def _same(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are one; "cpu" is "cpu:0", and "cuda" the current GPU."""
    return torch.empty(0, device=one).device == torch.empty(0, device=other).device
