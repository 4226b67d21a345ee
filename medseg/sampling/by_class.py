"""Strategies that start from the structure, over the whole data set."""

from collections.abc import Sequence

import numpy as np

from medseg.sampling.settings import SamplingSettings
from medseg.sampling.strategy import (
    Choice,
    Chooser,
    NextCase,
    draw_weighted,
    voxel_of_class,
)
from medseg.store import StoredCase
from medseg.types import Shape


class ClassBalanced(Chooser):
    """Each structure equally often, then any case that shows it, then a voxel."""

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Notes which case shows how much of what."""
        super().__init__(cases, patch_size, settings)
        self._voxels = np.asarray([case.num_voxels for case in cases], dtype=float)
        self._voxels[:, 0] = 0
        self.class_edges = np.cumsum(self.class_weights(self._voxels.sum(axis=0)))
        self._case_edges = np.cumsum(self.case_weights(self._voxels), axis=0)

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of a class drawn by its weight; None if no case shows any."""
        del next_case
        if not self.class_edges[-1]:
            return None
        label = draw_weighted(self.class_edges, rng)
        number = draw_weighted(self._case_edges[:, label], rng)
        return voxel_of_class(self.cases[number], number, label, rng)

    def class_weights(self, voxels: np.ndarray) -> np.ndarray:
        """Chance of each class, given its voxels in all cases."""
        return (voxels > 0).astype(float)

    def case_weights(self, voxels: np.ndarray) -> np.ndarray:
        """Chance of each case for each class, given its voxels, shape (cases, L)."""
        return (voxels > 0).astype(float)


class InverseFrequency(ClassBalanced):
    """Each structure in inverse proportion to its voxels, then any voxel of it."""

    def class_weights(self, voxels: np.ndarray) -> np.ndarray:
        """One over the voxels, to the power of the settings."""
        present = voxels > 0
        rarest = voxels[present].min(initial=np.inf)
        weights = np.zeros_like(voxels)
        weights[present] = (rarest / voxels[present]) ** self.settings.power
        return weights

    def case_weights(self, voxels: np.ndarray) -> np.ndarray:
        """In proportion to voxels, so that each voxel of a class is alike."""
        return voxels
