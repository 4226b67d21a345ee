"""Which patch comes next: repeatable, resumable, safe on cases without structures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.errors import TrainingError
from medseg.sampling.settings import SamplingSettings
from medseg.sampling.strategies import build_strategy
from medseg.sampling.strategy import Choice, Draw
from medseg.store import StoredCase
from medseg.types import Shape


class PatchSampler:
    """Draws patches from prepared cases.

    Each case has its turn in shuffled rounds where a strategy starts from the case.
    Every draw depends only on the seed and on what was drawn before.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        patch_size: tuple[int, ...],
        settings: SamplingSettings,
        seed: int,
    ) -> None:
        """Reads where classes and lesions lie, no voxels.

        Args:
            cases: What to draw from.
            patch_size: Voxels (i, j, k), or (i, j) for slices.
            settings: Which patches, and how often.
            seed: Another seed gives other patches.

        Raises:
            TrainingError: There is no case.
        """
        if not cases:
            raise TrainingError("no case to draw patches from; choose another fold")
        i, j, k = (*patch_size, 1) if len(patch_size) == 2 else patch_size
        self.patch_size: Shape = (int(i), int(j), int(k))
        self.settings = settings
        self._cases = cases
        self._rng = np.random.default_rng(seed)
        self._round: list[int] = []
        self._drawn = 0
        self._strategy = build_strategy(cases, self.patch_size, settings)

    def draw(self, batch_size: int) -> list[Draw]:
        """The next patches."""
        return [self._next() for _ in range(batch_size)]

    def report_loss(self, case_id: str, loss: float) -> None:
        """Tells how a patch of a case went, which ``hard_example`` goes by."""
        self._strategy.report_loss(case_id, loss)

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which the same patches follow."""
        return {
            "rng": self._rng.bit_generator.state,
            "round": list(self._round),
            "drawn": self._drawn,
            "strategy": self._strategy.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where `state_dict` was taken."""
        self._rng.bit_generator.state = state["rng"]
        self._round = list(state["round"])
        self._drawn = int(state["drawn"])
        self._strategy.load_state_dict(state["strategy"])

    def _next(self) -> Draw:
        turn = self._turn_of_strategy()
        self._drawn += 1
        choice = self._strategy.choose(self._rng, self._next_case) if turn else None
        if choice is None:
            return self._anywhere(self._next_case())
        return self._around(choice)

    def _turn_of_strategy(self) -> bool:
        """Spread evenly, so that any run of draws holds the share that was asked."""
        share = self.settings.foreground_share
        return int((self._drawn + 1) * share) > int(self._drawn * share)

    def _next_case(self) -> int:
        if not self._round:
            self._round = self._rng.permutation(len(self._cases)).tolist()
        return self._round.pop()

    def _anywhere(self, number: int) -> Draw:
        corner = [
            int(self._rng.integers(min(0, length - size), max(0, length - size) + 1))
            for size, length in zip(
                self.patch_size, self._cases[number].shape, strict=True
            )
        ]
        return self._draw(number, corner)

    def _around(self, choice: Choice) -> Draw:
        """A patch that holds the chosen voxel, off its centre by the jitter."""
        shape = self._cases[choice.case_index].shape
        corner = choice.corner
        if corner is None and choice.voxel is not None:
            corner = [
                self._start(int(voxel), size, length)
                for voxel, size, length in zip(
                    choice.voxel, self.patch_size, shape, strict=True
                )
            ]
        if corner is None:
            return self._anywhere(choice.case_index)
        return self._draw(choice.case_index, corner, choice)

    def _start(self, voxel: int, size: int, length: int) -> int:
        reach = self.settings.jitter * (size - 1) / 2
        offset = (size - 1) / 2 + self._rng.uniform(-reach, reach)
        start = voxel - round(offset)
        return min(max(start, min(0, length - size)), max(0, length - size))

    def _draw(
        self, number: int, corner: Sequence[int], choice: Choice | None = None
    ) -> Draw:
        i, j, k = corner
        voxel = None
        if choice is not None and choice.voxel is not None:
            a, b, c = (int(value) for value in choice.voxel)
            voxel = (a, b, c)
        return Draw(
            case_index=number,
            case_id=self._cases[number].case_id,
            corner=(int(i), int(j), int(k)),
            size=self.patch_size,
            label=choice.label if choice else 0,
            voxel=voxel,
        )
