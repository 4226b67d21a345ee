"""The strategies: each says of which case and around which voxel the patch lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from medseg.preparation import StoredCase
from medseg.sampling.settings import SamplingSettings, Strategy
from medseg.types import Shape

NextCase: TypeAlias = Callable[[], int]
"""Whose turn it is, in shuffled rounds."""


@dataclass(frozen=True)
class Choice:
    """A case and, where there is one, the voxel or corner to go by."""

    case_index: int
    label: int = 0
    voxel: np.ndarray | None = None
    corner: Sequence[int] | None = None


class Uniform:
    """Any place of any case."""

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Takes what every strategy is given."""
        self.cases = cases
        self.patch_size = patch_size
        self.settings = settings

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """The next choice; None leaves the place to chance."""
        del rng, next_case
        return None

    def report_loss(self, case_id: str, loss: float) -> None:
        """Takes note of a loss."""

    def state_dict(self) -> dict[str, Any]:
        """What the strategy has learned."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where `state_dict` was taken."""


class Foreground(Uniform):
    """A case, one of the structures it shows, a voxel of it."""

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """The next choice; a case without structures is taken anywhere."""
        number = next_case()
        present = _present(self.cases[number])
        if not present:
            return Choice(number)
        return _voxel_of_class(self.cases, number, int(rng.choice(present)), rng)


def _present(case: StoredCase) -> list[int]:
    """Structures that a case shows."""
    return [index for index, n in enumerate(case.num_voxels) if index and n]


def _voxel_of_class(
    cases: Sequence[StoredCase], number: int, label: int, rng: np.random.Generator
) -> Choice:
    positions = cases[number].voxels(label)
    return Choice(number, label, positions[rng.integers(len(positions))])


STRATEGIES: dict[Strategy, type[Uniform]] = {
    "uniform": Uniform,
    "foreground": Foreground,
}
