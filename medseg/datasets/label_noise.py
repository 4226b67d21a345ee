"""Label values that compression or interpolation left, told from structures.

A structure's voxels lie together. What a lossy format or a smoothed edge leaves
changes from voxel to voxel: most of these voxels have no neighbour of their value.
"""

import numpy as np

from medseg.types import LabelArray

FEWEST_NOISE_VALUES = 3
"""Fewer odd values than this may be small structures."""
_BLOCK = 1 << 20
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
    values = np.asarray(values_in(voxels), dtype=np.int64)
    if len(values) <= (2 if lossy else FEWEST_NOISE_VALUES):
        return ()
    counts, pairs = _counted(voxels, values)
    foreground = values != 0
    solid = foreground & (True if lossy else pairs >= _COHERENT * counts)
    if not solid.any():
        return ()
    if not lossy and np.count_nonzero(pairs < _COHERENT * counts) < FEWEST_NOISE_VALUES:
        return ()
    structures = solid & (counts >= _SMALLEST * counts[solid].max())
    structures &= _dominant(values, counts)
    return tuple(int(value) for value in values[foreground & ~structures])


def values_in(voxels: LabelArray) -> tuple[int, ...]:
    """The values that occur in a label map, sorted; without sorting small types."""
    flat = voxels.ravel(order="K")
    if voxels.dtype.itemsize > 2 or voxels.dtype.kind != "u":
        return tuple(int(value) for value in np.unique(flat))
    seen = np.zeros(np.iinfo(voxels.dtype).max + 1, dtype=bool)
    for start in range(0, flat.size, _BLOCK):  # an index array costs eight bytes each
        seen[flat[start : start + _BLOCK]] = True
    return tuple(int(value) for value in np.flatnonzero(seen))


def _counted(voxels: LabelArray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many voxels have each value, and how many pairs of face neighbours share it.

    A plane at a time, so that no second volume is made.
    """
    counts, pairs = np.zeros((2, len(values)), dtype=np.int64)
    longest = int(np.argmax(voxels.strides))
    before: np.ndarray | None = None
    for plane in np.moveaxis(voxels, longest, 0):
        places = np.searchsorted(values, plane)
        counts += np.bincount(places.ravel(), minlength=len(values))
        neighbours = [(places[1:], places[:-1]), (places[:, 1:], places[:, :-1])]
        if before is not None:
            neighbours.append((places, before))
        for ahead, behind in neighbours:
            equal = ahead[ahead == behind]
            pairs += np.bincount(equal, minlength=len(values))
        before = places
    return counts, pairs


def _dominant(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether no value close by, as noise spreads values, is more frequent."""
    reach = int(values.max()) // _SPREAD
    near = np.abs(np.subtract.outer(values.astype(np.int64), values)) <= reach
    return np.asarray((near * counts).max(axis=1) <= counts)
