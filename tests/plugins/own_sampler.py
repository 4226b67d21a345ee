"""A user's sampler: the smallest structure of the case whose turn it is."""

from typing import Any

import numpy as np

from medseg.sampling import Choice, Chooser, NextCase


class Smallest(Chooser):
    """A voxel of the structure with fewest voxels; counts how often it was asked."""

    def __init__(self, *settings: Any, least: int = 1) -> None:
        super().__init__(*settings)
        self.least, self.asked = least, 0

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        self.asked += 1
        number = next_case()
        case = self.cases[number]
        sizes = {n: s for n, s in enumerate(case.num_voxels) if n and s >= self.least}
        if not sizes or self.asked % 3 == 0:
            return None
        label = min(sizes, key=sizes.__getitem__)
        voxels = case.voxels(label)
        return Choice(number, label, voxels[rng.integers(len(voxels))])

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]
