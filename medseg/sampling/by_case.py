"""Strategies that start from the case: uniform, foreground, hard examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.sampling.settings import SamplingSettings
from medseg.sampling.strategy import (
    Choice,
    Chooser,
    NextCase,
    draw_weighted,
    structures_of,
    voxel_of_class,
)
from medseg.store import StoredCase
from medseg.types import Shape

MEMORY = 0.7
"""Share of a case's running loss that stays when a new loss comes in."""
LEAST_SHARE = 0.2
"""Share of draws in which all cases have the same chance, so that none is lost."""


class Uniform(Chooser):
    """Any place of any case."""

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """None: case and place are drawn uniformly."""
        del rng, next_case
        return None


class Foreground(Chooser):
    """A case, one of the structures it shows, a voxel of it, as nnU-Net does."""

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Notes which case shows what."""
        super().__init__(cases, patch_size, settings)
        self._structures = [structures_of(case) for case in cases]

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of the next case."""
        return self._in_case(next_case(), rng)

    def _in_case(self, number: int, rng: np.random.Generator) -> Choice:
        """A voxel of a case; any place where it shows nothing."""
        present = self._structures[number]
        if not present:
            return Choice(number)
        label = present[int(rng.integers(len(present)))]
        return voxel_of_class(self.cases[number], number, label, rng)


class HardExample(Foreground):
    """As `Foreground`, cases in proportion to their running loss."""

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Starts with equal weights, as no loss is known yet."""
        super().__init__(cases, patch_size, settings)
        self._losses: dict[str, float] = {}

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of a case drawn by its weight."""
        del next_case
        return self._in_case(draw_weighted(np.cumsum(self.weights()), rng), rng)

    def weights(self) -> np.ndarray:
        """Chance of each case; one without a loss counts as the hardest known."""
        hardest = max(self._losses.values(), default=1.0)
        losses = [self._losses.get(case.case_id, hardest) for case in self.cases]
        raised = np.maximum(losses, 1e-6) ** self.settings.power
        share = raised / raised.sum()
        return np.asarray((1 - LEAST_SHARE) * share + LEAST_SHARE / len(self.cases))

    def report_loss(self, case_id: str, loss: float) -> None:
        """Moves the case's running loss towards a new one; NaN is left out."""
        if np.isfinite(loss):
            known = self._losses.get(case_id, loss)
            self._losses[case_id] = MEMORY * known + (1 - MEMORY) * loss

    def state_dict(self) -> dict[str, Any]:
        """Running loss by case."""
        return {"losses": dict(self._losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with the losses that `state_dict` held."""
        self._losses = dict(state["losses"])
