"""Label maps by MONAI's sliding window, without a volume of logits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.utils.enums import BlendMode, PytorchPadMode
from torch import Tensor

from medseg.inference.streaming import LogitSlab, stream_rows
from medseg.inference.tiling import Box, Tile, Tiling, rolling_axis
from medseg.monai.window_answers import Predictor, flat_answer
from medseg.monai.window_sums import grid_or_none, without_meta_data

ROWS_AT_ONCE = 8
"""Rows that are decided on together."""


def largest_class(logits: Tensor) -> Tensor:
    """The class with the largest logit, (L, *spatial) to (1, *spatial), uint8.

    Raises:
        ValueError: There is one channel, or there are more than 256.
    """
    if not 2 <= len(logits) <= 256:
        raise ValueError(
            f"logits have {len(logits)} channels, expected 2 to 256 classes; for "
            "regions pass decide=lambda logits: logits > 0"
        )
    return logits.argmax(0, keepdim=True).byte()


def sliding_window_labels(
    inputs: Tensor,
    roi_size: Sequence[int] | int,
    sw_batch_size: int,
    predictor: Predictor,
    overlap: Sequence[float] | float = 0.25,
    mode: BlendMode | str = BlendMode.CONSTANT,
    sigma_scale: Sequence[float] | float = 0.125,
    padding_mode: PytorchPadMode | str = PytorchPadMode.CONSTANT,
    cval: float = 0.0,
    sw_device: torch.device | str | None = None,
    device: torch.device | str | None = None,
    roi_weight_map: Tensor | None = None,
    *args: Any,
    decide: Callable[[Tensor], Tensor] = largest_class,
    **kwargs: Any,
) -> Tensor:
    """Label maps of images; logits of a volume exist at no time.

    The label map of `sliding_window_inference(...).argmax(1, keepdim=True)`, decided
    on rows as they are finished, along the axis that is the most windows long: memory
    is a window's depth of logits, whatever the length of that axis.

    Args:
        inputs: Images (N, C, *spatial), floating-point numbers.
        roi_size: As in `monai.inferers.sliding_window_inference`, like all up to
            `roi_weight_map`.
        sw_batch_size: Windows of an image per call of the predictor.
        predictor: Returns logits (n, L, *window), or several outputs, these first.
        overlap: Share of a window.
        mode: How windows are blended.
        sigma_scale: Deviation of the Gaussian as a share of the window.
        padding_mode: What lies around images smaller than the window.
        cval: The value there.
        sw_device: Where windows are predicted and summed up.
        device: Where the label maps are.
        roi_weight_map: Weights in place of those of the mode.
        args: For the predictor.
        decide: From logits (L, *spatial) to labels or masks (K, *spatial).
        kwargs: For the predictor.

    Returns:
        What `decide` says, of shape (N, K, *spatial).

    Raises:
        ValueError: Arguments are wrong, or logits are not of the window's size.
    """
    found = grid_or_none(
        inputs, roi_size, overlap, mode, sigma_scale, roi_weight_map, sw_device
    )
    if found is None or sw_batch_size < 1:
        raise ValueError(
            f"sliding_window_labels got images of shape {tuple(inputs.shape)} and type "
            f"{inputs.dtype}, roi_size {roi_size}, sw_batch_size {sw_batch_size}, "
            f"overlap {overlap}, mode {mode}; expected floating-point images "
            "(N, C, *spatial), a window for each spatial axis and an overlap below 1"
        )
    images = found.padded(without_meta_data(inputs), mode=padding_mode, value=cval)
    axis = rolling_axis(found.size, found.window)
    boxes = sorted(found.boxes, key=lambda box: int(box[axis].start))
    tiles = tuple(Tile(box, box, _from_zero(box)) for box in boxes)
    tiling = Tiling(tiles, found.size, axis, found.importance.float())
    region = tuple(
        slice(before, n - after)
        for n, (before, after) in zip(found.size, found.padding, strict=True)
    )

    def predict(batch: Tensor) -> Tensor:
        logits = flat_answer(predictor(batch, *args, **kwargs))[1][0]
        if tuple(logits.shape[2:]) != found.window:
            raise ValueError(
                f"the predictor answered {tuple(logits.shape[2:])} voxels for a window "
                f"of {found.window}; label maps need one for one"
            )
        return logits

    target = torch.device(device or inputs.device)
    labels = [
        torch.cat(
            [
                decide(piece.logits()).to(target)
                for slab in stream_rows(
                    predict,
                    image,
                    tiling,
                    region=region,
                    batch_size=sw_batch_size,
                    device=found.importance.device,
                )
                for piece in _pieces(slab)
            ],
            dim=1 + axis,
        )
        for image in images
    ]
    return torch.stack(labels)


def _from_zero(box: Box) -> Box:
    return tuple(slice(0, part.stop - part.start) for part in box)


def _pieces(slab: LogitSlab) -> Iterator[LogitSlab]:
    """A few rows at a time, so that decisions take little memory of their own."""
    for start in range(slab.new, slab.stop, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, slab.stop)
        yield replace(slab, new=start, stop=stop)
