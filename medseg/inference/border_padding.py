"""Parts of an image that may reach beyond its borders."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.inference.tiling import Box, Continuation


def take(image: Tensor, box: Box, beyond: Continuation = "zero") -> Tensor:
    """The part of an image in a box; a view where it lies within the image.

    Args:
        image: Shape (C, *spatial).
        box: In voxels of the image; may reach beyond it.
        beyond: What lies outside the image.

    Returns:
        Shape (C, *box).
    """
    shape = image.shape[1:]
    within = tuple(
        slice(min(max(part.start, 0), n - 1), max(min(part.stop, n), 1))
        for part, n in zip(box, shape, strict=True)
    )
    if within == tuple(box):
        return image[(slice(None), *within)]
    if beyond == "zero":
        return F.pad(image[(slice(None), *within)], _widths(box, within))
    for axis, (part, n) in enumerate(zip(box, shape, strict=True), start=1):
        if part.start >= 0 and part.stop <= n:
            image = image.narrow(axis, part.start, part.stop - part.start)
        else:
            index = _positions(part, n, beyond)
            image = image.index_select(axis, index.to(image.device))
    return image


def voxels_shown(part: slice, size: int, beyond: Continuation) -> slice:
    """The voxels of an axis that a range shows, which may reach beyond its ends."""
    if beyond == "zero" or (part.start >= 0 and part.stop <= size):
        return slice(max(part.start, 0), min(part.stop, size))
    where = _positions(part, size, beyond)
    return slice(int(where.min()), int(where.max()) + 1)


def _widths(box: Box, within: Box) -> list[int]:
    """Voxels to add before and after, last axis first, as `F.pad` wants them."""
    return [
        width
        for part, held in zip(reversed(box), reversed(within), strict=True)
        for width in (held.start - part.start, part.stop - held.stop)
    ]


def _positions(part: slice, size: int, beyond: Continuation) -> Tensor:
    """For each voxel of a range, the voxel of the axis that stands there.

    Mirroring about border voxels has a period of 2(n − 1).
    """
    where = torch.arange(part.start, part.stop)
    if beyond == "repeat" or size == 1:
        return where.clamp(0, size - 1)
    period = 2 * (size - 1)
    where = where.remainder(period)
    return torch.minimum(where, period - where)
