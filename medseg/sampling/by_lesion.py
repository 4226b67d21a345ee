"""The strategy that starts from the connected component, by size."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from medseg.sampling.settings import SamplingSettings
from medseg.sampling.strategy import Choice, Chooser, NextCase
from medseg.store import StoredCase
from medseg.types import Shape


class LesionBalanced(Chooser):
    """Each size bin equally often, then any component in it, then a voxel of it.

    A lesion of 10 voxels among lesions of 10,000 is so drawn as often as all of those
    together, where sampling by voxel would show it once in thousands of patches.
    """

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Lists the components of all cases by size."""
        super().__init__(cases, patch_size, settings)
        tables = [case.index.lesions for case in cases]
        owner = np.repeat(np.arange(len(cases)), [len(table) for table in tables])
        row = np.concatenate([np.arange(len(table)) for table in tables])
        sizes = np.concatenate([table["voxels"] for table in tables])
        bins = size_bin(sizes, settings.size_bins)
        self.groups = [
            np.stack([owner[bins == number], row[bins == number]], axis=1)
            for number in np.unique(bins)
        ]

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of any component of any size bin; None if there is none."""
        del next_case
        if not self.groups:
            return None
        group = self.groups[int(rng.integers(len(self.groups)))]
        number, row = (int(value) for value in group[rng.integers(len(group))])
        index = self.cases[number].index
        lesion = index.lesions[row]
        positions = index.of_lesion(lesion)
        voxel = positions[rng.integers(len(positions))]
        return Choice(number, int(lesion["label"]), voxel)


def size_bin(voxels: np.ndarray, size_bins: Sequence[int]) -> np.ndarray:
    """Number of the bin of each size; a size at an edge belongs to the upper bin."""
    return np.searchsorted(np.asarray(size_bins), voxels, side="right")


def bin_names(size_bins: Sequence[int]) -> list[str]:
    """What each bin holds, such as ``"10 to 99"``, in voxels."""
    edges = [*size_bins]
    if not edges:
        return ["any"]
    inner = [f"{a} to {b - 1}" for a, b in pairwise(edges)]
    return [f"under {edges[0]}", *inner, f"{edges[-1]} or more"]
