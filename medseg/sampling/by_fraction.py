"""The strategy that asks how much of a patch structures cover, wherever they lie."""

from collections.abc import Sequence

import numpy as np

from medseg.files import hash_text
from medseg.sampling.settings import SamplingSettings
from medseg.sampling.strategy import Choice, Chooser, NextCase
from medseg.store import StoredCase
from medseg.store.voxel_index import BLOCK
from medseg.types import Shape

MOST_CORNERS = 4096
"""Places kept of a case; a sample of those that hold enough above that."""


class AnyForeground(Chooser):
    """Any patch that holds at least a share of structures, found without trying.

    An integral image over the block counts of the store says how many structure
    voxels lie in the whole blocks of each patch: never more than the patch holds, so
    every place kept keeps the promise. Where no patch of a case holds enough, those
    that hold most of it are taken; a case without structures is taken anywhere.
    """

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Starts with an empty cache; a case is indexed when it is first drawn."""
        super().__init__(cases, patch_size, settings)
        self._corners: dict[int, np.ndarray] = {}

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A place in the next case."""
        number = next_case()
        corners = self.corners(number)
        if not len(corners):
            return Choice(number)
        corner = corners[rng.integers(len(corners))].tolist()
        return Choice(number, corner=self._moved(corner, number, rng))

    def corners(self, number: int) -> np.ndarray:
        """Places of a case that hold enough, shape (n, 3)."""
        if number not in self._corners:
            case = self.cases[number]
            least = self.settings.min_fraction * float(np.prod(self.patch_size))
            found = find_corners(case.blocks, case.shape, self.patch_size, least=least)
            rng = np.random.default_rng(int(hash_text(case.case_id)[:8], 16))
            if len(found) > MOST_CORNERS:
                found = rng.choice(found, MOST_CORNERS, replace=False)
            self._corners[number] = found
        return self._corners[number]

    def _moved(
        self, corner: list[int], number: int, rng: np.random.Generator
    ) -> list[int]:
        """Anywhere along an axis on which the patch holds all of the case."""
        shape = self.cases[number].shape
        return [
            int(rng.integers(length - size, 1)) if size > length else start
            for start, size, length in zip(corner, self.patch_size, shape, strict=True)
        ]


def find_corners(
    blocks: np.ndarray, shape: Shape, patch_size: Shape, *, least: float
) -> np.ndarray:
    """Corners whose patch holds at least so many structure voxels, shape (n, 3).

    If none does, those that hold most; none where there are no structures.

    Args:
        blocks: Structure voxels in each block of the case.
        shape: Voxels of the case.
        patch_size: Voxels of the patch.
        least: Structure voxels to hold.
    """
    if not blocks.any():
        return np.empty((0, 3), dtype=np.int64)
    total = np.zeros(np.asarray(blocks.shape) + 1, dtype=np.int64)
    total[1:, 1:, 1:] = blocks.cumsum(0, dtype=np.int64).cumsum(1).cumsum(2)
    ranges = [
        _block_ranges(length, size, block)
        for length, size, block in zip(shape, patch_size, BLOCK, strict=True)
    ]
    for axis, (_, first, last) in enumerate(ranges):
        total = total.take(last, axis) - total.take(first, axis)
    enough = total >= min(least, total.max())
    starts = [start for start, _, _ in ranges]
    where = np.nonzero(enough)
    return np.stack([s[w] for s, w in zip(starts, where, strict=True)], axis=1)


def _block_ranges(
    length: int, size: int, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners along one axis, and the whole blocks that lie inside the patch.

    Corners are a block apart, and the last one ends with the case.
    """
    last_corner = max(length - size, 0)
    corners = np.unique(np.append(np.arange(0, last_corner, block), last_corner))
    first = -(-corners // block)
    ends = np.minimum(corners + size, length)
    last = np.where(ends == length, -(-length // block), ends // block)
    return corners, first, np.maximum(last, first)
