"""Levels of painted objects as they lie after turning, scaling and bending."""

from torch import Tensor

from medseg.instances.object_colouring import BEYOND
from medseg.instances.targets import LEVELS, Target
from medseg.labels import IGNORE_INDEX

SAME_SPACING = 1.5
"""Rims run along axes whose voxels are at most so many times the finest ones."""


def levels_of(
    painted: Tensor, kind: Target, *, spacing: tuple[float, ...] | None = None
) -> Tensor:
    """Levels of painted patches on the same device; ignored voxels stay 255.

    Where objects end because nothing is known beyond, there is no rim.

    Args:
        painted: As `paint` gives it and as it was moved, uint8, (N, *spatial).
        kind: Which levels.
        spacing: Voxel size along the spatial axes.
    """
    ignored, beyond = painted == IGNORE_INDEX, painted == BEYOND
    colour = painted >> 1
    known = ~(ignored | beyond)
    rim = ignored & beyond  # nowhere
    for axis in _fine_axes(painted.dim() - 1, spacing):
        differ = _beside(colour, known, axis)
        length = painted.shape[axis] - 1
        rim.narrow(axis, 0, length).logical_or_(differ)
        rim.narrow(axis, 1, length).logical_or_(differ)
    innermost = len(LEVELS[kind])
    levels = painted.new_full(painted.shape, 2).masked_fill_(rim, 1)
    levels.masked_fill_((painted & 1).bool(), innermost)
    levels.masked_fill_(colour == 0, 0)
    return levels.masked_fill_(ignored, IGNORE_INDEX)


def _beside(colour: Tensor, known: Tensor, axis: int) -> Tensor:
    """Whether a voxel and the next one along an axis are known to differ."""
    length = colour.shape[axis] - 1
    differ = colour.narrow(axis, 0, length) != colour.narrow(axis, 1, length)
    return differ & known.narrow(axis, 0, length) & known.narrow(axis, 1, length)


def _fine_axes(dims: int, spacing: tuple[float, ...] | None) -> list[int]:
    """Axes of (N, *spatial) along which a rim is one voxel thick."""
    sizes = spacing or (1.0,) * dims
    return [
        axis
        for axis, size in enumerate(sizes, start=1)
        if dims == 2 or size <= SAME_SPACING * min(sizes)
    ]
