"""The part of an array that holds anything, so that work is done only there."""

from typing import TypeAlias

import numpy as np

Box: TypeAlias = tuple[slice, ...]
"""One slice per axis; empty slices where there is nothing."""


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box around the true voxels, one slice per axis."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else _NONE)
    return tuple(box)


_NONE = slice(0, 0)
