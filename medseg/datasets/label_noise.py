"""Label values that compression or interpolation left, told from structures.

A structure's voxels lie together. What a lossy format or a smoothed edge leaves
changes from voxel to voxel: most of these voxels have no neighbour of their value.
"""

import numpy as np

from medseg.types import LabelArray

FEWEST_NOISE_VALUES = 3
"""Fewer odd values than this may be small structures."""
_COHERENT = 0.5
"""Pairs of equal neighbours per voxel: 2 to 3 inside of structures, 0 in noise."""
_SPREAD = 12
"""Noise lies within this part of the largest value around a structure's own."""
_SMALLEST = 0.2
"""Beside noise, a structure has at least this share of the largest one's voxels."""

CAUSE = "as JPEG compression or an edge smoothed by interpolation leaves them"
REPAIR = (
    "export the label map itself, without loss, or resample it by nearest neighbour"
)


def noise_in(voxels: LabelArray, *, lossy: bool = False) -> tuple[int, ...]:
    """Values of a label map that seem to be noise beside real structures, sorted.

    None where there are fewer than three values without neighbours of their own, or
    nothing but them.

    Args:
        voxels: Integers, shape (I, J, K).
        lossy: Whether the file's format is known to change values, as JPEG does.
    """
    values, places = np.unique(voxels, return_inverse=True)
    if len(values) <= (2 if lossy else FEWEST_NOISE_VALUES):
        return ()
    places = places.reshape(voxels.shape)
    counts = np.bincount(places.ravel(), minlength=len(values))
    pairs = _equal_neighbours(places, len(values))
    foreground = values != 0
    solid = foreground & (True if lossy else pairs >= _COHERENT * counts)
    if not solid.any():
        return ()
    if not lossy and np.count_nonzero(pairs < _COHERENT * counts) < FEWEST_NOISE_VALUES:
        return ()
    structures = solid & (counts >= _SMALLEST * counts[solid].max())
    structures &= _dominant(values, counts)
    return tuple(int(value) for value in values[foreground & ~structures])


def _dominant(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether no value close by, as noise spreads values, is more frequent."""
    reach = int(values.max()) // _SPREAD
    near = np.abs(np.subtract.outer(values.astype(np.int64), values)) <= reach
    return np.asarray((near * counts).max(axis=1) <= counts)


def _equal_neighbours(places: np.ndarray, count: int) -> np.ndarray:
    """Pairs of face neighbours that share each value."""
    pairs = np.zeros(count, dtype=np.int64)
    for axis in range(places.ndim):
        moved = np.moveaxis(places, axis, 0)
        ahead, behind = moved[1:], moved[:-1]
        pairs += np.bincount(ahead[ahead == behind], minlength=count)
    return pairs
