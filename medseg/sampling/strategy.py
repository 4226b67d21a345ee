"""The interface of sampling strategies: choose a case, then a place in it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from medseg.sampling.settings import SamplingSettings
from medseg.store import StoredCase
from medseg.store.arrays import Box
from medseg.types import Shape


@dataclass(frozen=True)
class Draw:
    """A patch of a case; it may reach over the case's border."""

    case_index: int
    """Position in the sequence of cases that the sampler was given."""
    case_id: str
    """Name of the case."""
    corner: tuple[int, int, int]
    """First voxel of the patch; negative where it begins outside."""
    size: Shape
    """Voxels of the patch along (i, j, k); one along k in 2D."""
    label: int = 0
    """The class for whose sake it was chosen; 0 for a place of no account."""
    voxel: tuple[int, int, int] | None = None
    """The voxel that was chosen; it lies inside the patch."""

    def inside(self, shape: Shape) -> Box:
        """The part of the patch that lies in an array of a given shape."""
        i, j, k = (
            slice(max(start, 0), max(min(start + size, length), 0))
            for start, size, length in zip(self.corner, self.size, shape, strict=True)
        )
        return (i, j, k)


NextCase: TypeAlias = Callable[[], int]
"""Whose turn it is, in shuffled rounds."""


@dataclass(frozen=True)
class Choice:
    """A case and, where there is one, the voxel or the corner to go by."""

    case_index: int
    """Position in the sequence of cases."""
    label: int = 0
    """The class for whose sake it was chosen; 0 for none."""
    voxel: np.ndarray | None = None
    """A voxel that the patch must hold."""
    corner: Sequence[int] | None = None
    """The patch's first voxel, where that was decided."""


class Chooser(ABC):
    """Decides around what the next patch lies.

    Args:
        cases: Prepared cases.
        patch_size: Voxels along (i, j, k); one along k for slices.
        settings: Numbers of the strategy.
    """

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        self.cases = cases
        self.patch_size = patch_size
        self.settings = settings

    @abstractmethod
    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """The next choice; None leaves case and place to chance."""

    def report_loss(self, case_id: str, loss: float) -> None:
        """Takes note of how a patch of a case went; most strategies do not care."""
        del case_id, loss

    def state_dict(self) -> dict[str, Any]:
        """What was learned, as plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where `state_dict` was taken."""
        del state


def voxel_of_class(
    case: StoredCase, number: int, label: int, rng: np.random.Generator
) -> Choice:
    """Any voxel of a class that a case shows."""
    positions = case.voxels(label)
    return Choice(number, label, positions[rng.integers(len(positions))])


def draw_weighted(edges: np.ndarray, rng: np.random.Generator) -> int:
    """Position drawn by weights whose running sum is given; never one of weight 0."""
    return int(np.searchsorted(edges, rng.uniform(0, edges[-1]), side="right"))


def structures_of(case: StoredCase) -> tuple[int, ...]:
    """Structures that a case shows."""
    return tuple(index for index, n in enumerate(case.num_voxels) if index and n)
