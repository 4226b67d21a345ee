"""An index of the voxels of each class and lesion, so that sampling never searches."""

from dataclasses import dataclass

import numpy as np

from medseg.labels import IGNORE_INDEX
from medseg.types import LabelArray

MOST_PER_CLASS = 10_000
"""Positions kept of a class in one case; a sample of the voxels above that."""
MOST_PER_LESION = 64
"""Positions kept of each connected component."""
BLOCK = (8, 8, 1)
"""Voxels of a block along (i, j, k) whose structure voxels are counted."""

LESION = np.dtype(
    [
        ("label", np.uint8),
        ("voxels", np.uint32),
        ("start", np.uint16, 3),
        ("stop", np.uint16, 3),
        ("first", np.uint32),
        ("count", np.uint32),
    ]
)
"""A connected component: class, size, bounding box, and its rows of positions."""


@dataclass(frozen=True)
class VoxelIndex:
    """Sampled positions of classes and connected components of one label map."""

    num_voxels: tuple[int, ...]
    """Voxels of each index 0 to L - 1, all of them counted."""
    num_kept: tuple[int, ...]
    """Positions kept of each index; none of background, which is everywhere."""
    positions: np.ndarray
    """Voxels (i, j, k), uint16, shape (n, 3): class after class, then lesion after
    lesion."""
    lesions: np.ndarray
    """One `LESION` record per component, 26-connected, largest first in each
    class."""

    def of_class(self, index: int) -> np.ndarray:
        """Kept positions of a class, shape (n, 3)."""
        first = sum(self.num_kept[:index])
        return np.asarray(self.positions[first : first + self.num_kept[index]])

    def lesions_of(self, index: int) -> np.ndarray:
        """Records of the components of a class."""
        return np.asarray(self.lesions[self.lesions["label"] == index])

    def of_lesion(self, lesion: np.void) -> np.ndarray:
        """Kept positions of a component, shape (n, 3)."""
        first = int(lesion["first"])
        return np.asarray(self.positions[first : first + int(lesion["count"])])


def build_index(
    labels: LabelArray, num_classes: int, rng: np.random.Generator
) -> VoxelIndex:
    """The index of a label map of indices; ignored voxels belong to no class.

    Args:
        labels: Label indices, shape (I, J, K).
        num_classes: Number of indices with background.
        rng: Chooses positions where there are too many to keep.
    """
    counts = np.bincount(labels.ravel(), minlength=IGNORE_INDEX + 1)[:num_classes]
    start, foreground = _cut_to_foreground(labels)
    components = _components(foreground)
    flat = foreground.ravel()
    order = np.flatnonzero(components)
    kept = [np.empty(0, dtype=np.intp)]
    kept += [
        _sample(order[flat[order] == index], MOST_PER_CLASS, rng)
        for index in range(1, num_classes)
    ]
    lesions, rows = _lesions(flat, components.ravel(), order, foreground.shape, rng)
    lesions["first"] += sum(len(part) for part in kept)
    positions = np.unravel_index(np.concatenate([*kept, rows]), foreground.shape)
    lesions["start"] += start.astype(np.uint16)
    lesions["stop"] += start.astype(np.uint16)
    return VoxelIndex(
        num_voxels=tuple(int(count) for count in counts),
        num_kept=tuple(len(part) for part in kept),
        positions=(np.stack(positions, axis=1) + start).astype(np.uint16),
        lesions=lesions,
    )


def count_blocks(labels: LabelArray) -> np.ndarray:
    """Structure voxels in each block of a label map, uint8; blocks may be cut off."""
    known = (labels > 0) & (labels != IGNORE_INDEX)
    pad = [
        (0, -length % block) for length, block in zip(labels.shape, BLOCK, strict=True)
    ]
    padded = np.pad(known, pad).view(np.uint8)
    i, j, k = (n // b for n, b in zip(padded.shape, BLOCK, strict=True))
    blocks = padded.reshape(i, BLOCK[0], j, BLOCK[1], k)
    return np.asarray(blocks.sum(axis=(1, 3), dtype=np.uint8))


def _cut_to_foreground(labels: LabelArray) -> tuple[np.ndarray, LabelArray]:
    """Offset and content of the smallest box with all structures, ignored as 0."""
    known = (labels > 0) & (labels != IGNORE_INDEX)
    if not known.any():
        return np.zeros(3, dtype=np.int64), np.zeros((1, 1, 1), dtype=labels.dtype)
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(known.any(axis=others))
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    cut = tuple(box)
    foreground = np.where(known[cut], labels[cut], 0).astype(labels.dtype)
    return np.asarray([part.start for part in box]), foreground


def _components(foreground: LabelArray) -> np.ndarray:
    """Connected components, numbered from 1; each has one label."""
    import cc3d

    components: np.ndarray = cc3d.connected_components(foreground, connectivity=26)
    return np.ascontiguousarray(components)


def _lesions(
    flat: np.ndarray,
    components: np.ndarray,
    order: np.ndarray,
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Records of all components, and the voxels kept of them, as flat positions."""
    ranked = order[np.argsort(components[order], kind="stable")]
    ends = np.cumsum(np.bincount(components[order])[1:])
    groups = np.split(ranked, ends[:-1]) if len(order) else []
    groups.sort(key=lambda group: (int(flat[group[0]]), -len(group)))
    lesions = np.zeros(len(groups), dtype=LESION)
    rows = [_sample(group, MOST_PER_LESION, rng) for group in groups]
    first = 0
    for number, (group, row) in enumerate(zip(groups, rows, strict=True)):
        where = np.stack(np.unravel_index(group, shape), axis=1)
        box = (where.min(axis=0), where.max(axis=0) + 1)
        label = flat[group[0]]
        lesions[number] = (label, len(group), *box, first, len(row))
        first += len(row)
    return lesions, np.concatenate(rows) if rows else np.empty(0, dtype=np.intp)


def _sample(positions: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(positions) <= most:
        return positions
    return np.sort(rng.choice(positions, most, replace=False, shuffle=False))
