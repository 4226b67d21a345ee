"""From levels of depth to numbered objects: foreground, seeds, watershed.

A nucleus of five voxels across is never as deep, to a network in doubt, as the middle
of a large one. Lowering the depth of seeds for it would join large neighbours; so a
connected part of the foreground without any seed is an object too, where it is `alone`
deep somewhere.

Candidates can be found tile by tile: what they come to is known once those of all tiles
are joined (`SeedBook`).

Watershed stays inside a connected foreground, so that the objects of a large image can
be found tile by tile (`stitching.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import FULL, ObjectMaps
from medseg.types import LabelArray, MaskArray


def find_foreground(depths: ObjectMaps, settings: DecodingSettings) -> MaskArray:
    """Voxels of objects; holes smaller than the smallest object are filled."""
    inside = np.asarray(depths.foreground > settings.foreground * FULL)
    if settings.min_voxels < 2:
        return inside
    holes, _ = label(~inside)
    sizes = np.bincount(holes.ravel())
    small = sizes < settings.min_voxels
    small[0] = False
    return np.asarray(inside | small[holes])


def label(mask: MaskArray) -> tuple[LabelArray, int]:
    """Connected parts of a mask numbered from 1; faces connect."""
    import cc3d

    found = cc3d.connected_components(
        np.ascontiguousarray(mask), connectivity=4 if mask.ndim == 2 else 6
    )
    return found.astype(np.uint32), int(found.max(initial=0))


@dataclass(frozen=True)
class SeedCandidates:
    """Seeds and parts of the foreground, of an image or of a part of it.

    Attributes:
        labels: Number of the seed of each voxel, of its part where it is in none, and
            0 outside the foreground; uint32.
        is_part: Of each number from 0 on, whether it is a part's.
        peaks: Greatest depth of each number.
        taken: Parts that hold a seed.
    """

    labels: LabelArray
    is_part: MaskArray
    peaks: np.ndarray
    taken: MaskArray


def find_candidates(depths: ObjectMaps, settings: DecodingSettings) -> SeedCandidates:
    """Connected voxels of seeds, faces connecting, and the parts around them.

    Args:
        depths: Of an image or of a part of it.
        settings: Thresholds.
    """
    inside = depths.foreground > settings.foreground * FULL
    seeds, num_seeds = label(inside & (depths.depth > settings.seed * FULL))
    inside = find_foreground(depths, settings)  # what lies in a filled hole is no part
    parts, num_parts = label(inside)
    is_seed = seeds > 0
    labels = np.where(is_seed, seeds, parts + num_seeds * (parts > 0))
    count = num_seeds + num_parts + 1
    peaks = np.zeros(count, dtype=depths.depth.dtype)
    np.maximum.at(peaks, labels[inside], depths.depth[inside])
    taken = np.zeros(count, dtype=bool)
    taken[parts[is_seed] + num_seeds] = True
    return SeedCandidates(
        labels.astype(np.uint32), np.arange(count) > num_seeds, peaks, taken
    )


@dataclass
class SeedBook:
    """Candidates of all tiles under numbers of their own, and which are the same."""

    settings: DecodingSettings
    is_part: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=bool))
    peaks: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.uint8))
    pairs: list[np.ndarray] = field(default_factory=list)

    def add(self, found: SeedCandidates) -> LabelArray:
        """The candidates of a tile, with numbers of their own."""
        before = len(self.peaks) - 1
        self.is_part = np.append(self.is_part, found.is_part[1:])
        self.peaks = np.append(self.peaks, found.peaks[1:])
        taken = np.flatnonzero(found.taken) + before
        self.pairs.append(np.stack([taken, np.zeros_like(taken)]))
        return np.where(found.labels > 0, found.labels + before, 0).astype(np.uint32)

    def join(self, one: LabelArray, other: LabelArray) -> None:
        """Notes what lies side by side in two touching faces.

        Two seeds are one, and so are two parts; a part beside a seed holds it.
        """
        both = (one > 0) & (other > 0)
        pairs = np.unique(np.stack([one[both], other[both]]), axis=1)
        held = self.is_part[pairs[0]] != self.is_part[pairs[1]]
        pairs[:, held] = np.where(self.is_part[pairs[:, held]], pairs[:, held], 0)
        self.pairs.append(pairs)

    def numbers(self) -> LabelArray:
        """The object that each number begins, from 1; 0 for parts that begin none."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        rows, columns = np.concatenate([np.zeros((2, 0), int), *self.pairs], axis=1)
        size = len(self.peaks)
        links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
        num_groups, groups = connected_components(links, directed=False)
        peaks = np.zeros(num_groups, dtype=self.peaks.dtype)
        np.maximum.at(peaks, groups, self.peaks)
        keep = peaks[groups] > np.where(self.is_part, self.settings.alone * FULL, -1)
        keep &= groups != groups[0]  # what was joined with 0 is nothing
        numbers = np.zeros(size, dtype=np.uint32)
        _, first, order = np.unique(
            groups[keep], return_index=True, return_inverse=True
        )
        as_met = np.argsort(np.argsort(first)).astype(np.uint32)
        numbers[keep] = as_met[order.ravel()] + 1
        return numbers


def find_seeds(depths: ObjectMaps, settings: DecodingSettings) -> LabelArray:
    """Where each object of an image begins, numbered from 1, uint32."""
    book = SeedBook(settings)
    labels = book.add(find_candidates(depths, settings))
    return np.asarray(book.numbers()[labels])


def decode(depths: ObjectMaps, settings: DecodingSettings) -> LabelArray:
    """Numbers of objects from 1 without gaps, 0 outside, uint32.

    Args:
        depths: Of an image that is decoded at once; any number of axes.
        settings: Thresholds.
    """
    labels = flood(depths, find_seeds(depths, settings), settings)
    return without_small(labels, min_voxels=settings.min_voxels)


def flood(
    depths: ObjectMaps,
    seeds: LabelArray,
    settings: DecodingSettings,
    *,
    origin: Sequence[int] | None = None,
) -> LabelArray:
    """Seeds grown over the foreground, deep voxels first (scikit-image's watershed).

    Args:
        depths: Of an image or of a part of it.
        seeds: Numbers of seeds, 0 elsewhere.
        settings: Thresholds.
        origin: Where the part begins in its image: which of two equally deep voxels
            of seeds grows first follows from its place there, so that parts agree.
    """
    from skimage.segmentation import watershed

    inside = find_foreground(depths, settings)
    start = origin or (0,) * depths.depth.ndim
    height = (FULL - depths.depth).astype(np.float32)
    height += np.where(seeds > 0, _turns(seeds.shape, start), 0)
    grown = watershed(  # type: ignore[no-untyped-call]
        height, seeds.astype(np.int32), mask=inside
    )
    return np.asarray(grown).astype(np.uint32)


def _turns(shape: tuple[int, ...], start: Sequence[int]) -> np.ndarray:
    """For each voxel a share of a half, scattered by its place (Weyl's sequence)."""
    steps = (0.7548776662466927, 0.5698402909980532, 0.4301597090019468)
    along = [
        (np.arange(first, first + size) * step) % 1
        for first, size, step in zip(start, shape, steps[: len(shape)], strict=True)
    ]
    total = sum(np.ix_(*along), np.zeros((1,) * len(shape)))
    return np.asarray(total % 1 / 2, dtype=np.float32)


def without_small(labels: LabelArray, *, min_voxels: int) -> LabelArray:
    """Objects of enough voxels, renumbered from 1 without gaps."""
    sizes = np.bincount(labels.ravel())
    return np.asarray(kept_numbers(sizes, min_voxels=min_voxels)[labels])


def kept_numbers(sizes: np.ndarray, *, min_voxels: int) -> LabelArray:
    """New number of each old one; 0 for those that go.

    Args:
        sizes: Voxels of each number, those outside first.
        min_voxels: Smaller objects go.
    """
    keep = sizes >= max(min_voxels, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.uint32)
