"""When to validate on whole cases, and what is kept of it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from medseg.files import atomic_write
from medseg.inference.predictor import Predictor
from medseg.store.stored_case import StoredCase
from medseg.training.length import Clock, seconds_on
from medseg.training.state import TrainingState
from medseg.training.validation import dice_rows, mean_dice

MOST_LOOKS = 10
"""Validations during a run; fewer when they would cost too much of it."""

BEST = Path("checkpoints") / "best.pt"
"""Weights with the best mean Dice seen on the way, below the run's folder."""


class ValidationSchedule:
    """Scores whole cases at even shares of a run, within a share of its time.

    Args:
        cases: Validation cases; none for a run without validation.
        largest_share: Most of the run's time that validation may take.
        folder: The run's folder.
        clock: What the run's time is counted on.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        largest_share: float,
        folder: Path,
        clock: Clock = "wall",
    ) -> None:
        self._cases = cases
        self._largest_share = largest_share
        self._folder = folder
        self._clock = clock

    def due(self, done: float, state: TrainingState) -> bool:
        """Whether a share of the run has passed since the last look."""
        if state.next_look == 0.0:
            state.next_look = done + 1 / MOST_LOOKS
        return bool(self._cases) and state.next_look <= done < 1

    def take(
        self, predictor: Predictor, state: TrainingState, done: float
    ) -> dict[str, float]:
        """Dice of each structure; keeps the weights when their mean is the best.

        Each process validates its share of the cases.

        Raises:
            LostProcessError: Another process ended.
        """
        started, processes = seconds_on(self._clock), state.processes
        rows = dice_rows(predictor, self._cases[processes.number :: processes.size])
        every = [row for part in processes.gather(rows) for row in part]
        scores = mean_dice(every, predictor.plan.targets.structures)
        state.validations.append(scores["dice/mean"])
        if scores["dice/mean"] > state.best_dice:
            state.best_dice = scores["dice/mean"]
            if processes.is_main:
                with atomic_write(self._folder / BEST) as temporary:
                    torch.save(state.validated_network.state_dict(), temporary)
        run_seconds = max(state.seconds, 1e-9) / max(done, 1e-9)
        cost = (seconds_on(self._clock) - started) / run_seconds
        wait = max(1 / MOST_LOOKS, cost / self._largest_share)
        state.next_look = done + processes.gather(wait)[0]
        return scores
