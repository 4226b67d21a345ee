"""The plain way, whole volumes at once: the reference that streaming must equal."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.inference.interpolation import axis_weights, interpolate
from medseg.inference.label_writer import decide
from medseg.inference.streaming import Predict
from medseg.inference.tiling import gaussian_importance, windows
from medseg.labels import LabelScheme
from medseg.placement import Placement
from medseg.volume import LabelMap


def sliding_window_logits(
    predict: Predict,
    image: Tensor,
    *,
    window_size: Sequence[int],
    overlap: float = 0.5,
    batch_size: int = 1,
) -> Tensor:
    """Logits of a batch of images, blended with Gaussian weights where windows meet.

    An image smaller than the window is padded with zeros, as training patches are,
    and the logits are cropped back.

    Args:
        predict: The network.
        image: Shape (N, C, *spatial); a 3D scan as N = 1, or 2D slices along N.
        window_size: Voxels of a window.
        overlap: Least share of a window that its neighbour covers again.
        batch_size: Windows per call of `predict`.

    Returns:
        Float32 logits, shape (N, L, *spatial), on the image's device.
    """
    padded, crop = pad_to(image, window_size)
    spatial = padded.shape[2:]
    boxes = list(windows(spatial, window_size, overlap))
    if len(boxes) == 1:
        parts = [predict(part).float() for part in torch.split(padded, batch_size)]
        return torch.cat(parts)[_at(crop)]
    importance = gaussian_importance(window_size, device=image.device)
    total: Tensor | None = None
    weight = torch.zeros(spatial, device=image.device)
    for box in boxes:
        weight[box] += importance
    for jobs in _batched(itertools.product(range(len(padded)), boxes), batch_size):
        logits = predict(torch.stack([padded[_at(box, n)] for n, box in jobs]))
        if total is None:
            shape = (len(padded), logits.shape[1], *spatial)
            total = torch.zeros(shape, device=image.device)
        for (n, box), part in zip(jobs, logits, strict=True):
            total[_at(box, n)].addcmul_(part.float(), importance)
    assert total is not None  # there is at least one window
    return total.div_(weight)[_at(crop)]


def pad_to(image: Tensor, size: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """The image padded with zeros on both sides to at least a size.

    Returns:
        The padded image and the box of the original in it.
    """
    spatial = image.shape[2:]
    missing = [max(want - have, 0) for have, want in zip(spatial, size, strict=True)]
    before = [gap // 2 for gap in missing]
    crop = tuple(
        slice(start, start + have) for start, have in zip(before, spatial, strict=True)
    )
    if not any(missing):
        return image, crop
    pads = [
        side
        for start, gap in reversed(list(zip(before, missing, strict=True)))
        for side in (start, gap - start)
    ]
    return F.pad(image, pads), crop


def _at(box: tuple[slice, ...], n: int | slice = slice(None)) -> Any:
    """Index of a box in tensors (N, C, *spatial); torch's stubs know no starred one."""
    return (n, slice(None), *box)


def _batched(
    jobs: Iterator[tuple[int, tuple[slice, ...]]], size: int
) -> Iterator[list[tuple[int, tuple[slice, ...]]]]:
    while batch := list(itertools.islice(jobs, size)):
        yield batch


def export_label_map(
    logits: Tensor, placement: Placement, scheme: LabelScheme
) -> LabelMap:
    """All logits on the scan's grid, then the decision."""
    if placement.is_resampled:
        logits = interpolate(logits, axis_weights(placement))
    values = scheme.to_values(placement.paste(decide(logits, scheme)))
    return LabelMap(values, placement.source.affine)
