"""Validation while training: whole cases scored, when, and what it leads to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from medseg.evaluation.overlap import dice_per_label
from medseg.files import atomic_write
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.plan import Plan
from medseg.progress import Progress
from medseg.sampling import (
    SamplingStats,
    absence_alarms,
    collapse_alarms,
    starvation_alarms,
)
from medseg.store.stored_case import StoredCase
from medseg.training.batches import BatchSource
from medseg.training.context import MetricLog
from medseg.training.length import Clock, seconds_on
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState


def validate(predictor: Predictor, cases: Iterable[StoredCase]) -> dict[str, float]:
    """Mean Dice of each structure over whole cases, as `mean_dice` has it."""
    structures = predictor.plan.targets.structures
    return mean_dice(dice_rows(predictor, cases), structures)


def dice_rows(predictor: Predictor, cases: Iterable[StoredCase]) -> list[np.ndarray]:
    """Dice of each structure of each case, on the prepared grid."""
    predictor = replace(predictor, network=predictor.network.eval())
    return [_dice_of(predictor, case) for case in cases]


def _dice_of(predictor: Predictor, case: StoredCase) -> np.ndarray:
    """Dice of each structure; NaN of those that the case does not annotate."""
    dice = dice_per_label(
        predictor.predict_prepared(case.read_image()),
        case.read_label(),
        num_classes=predictor.plan.targets.num_classes,
    )
    dice[[index - 1 for index in case.unannotated]] = np.nan
    return dice


def mean_dice(
    rows: Sequence[np.ndarray], structures: Sequence[str]
) -> dict[str, float]:
    """Mean Dice of each structure over cases.

    A structure that a case does not hold and that was not predicted does not count
    for that case, nor does one that the case does not annotate; one that was missed,
    or was invented, counts as 0.

    Returns:
        ``dice/<structure>`` for each structure and ``dice/mean`` over them; NaN where
        no case holds a structure.
    """
    table = np.asarray(rows, dtype=float)
    scores = {
        f"dice/{name}": _mean(table[:, column])
        for column, name in enumerate(structures)
    }
    scores["dice/mean"] = _mean(np.asarray(list(scores.values())))
    return scores


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


VALIDATIONS = 3
"""Validations over which nothing was gained."""

GAIN = 0.001
"""Rise of the mean Dice that counts as a gain."""

COOL_DOWN = 0.1
"""Time that a run still gets to lower its learning rate, as a share of that so far."""


def has_plateaued(dice: Sequence[float]) -> bool:
    """Whether the last validations brought nothing over the best before them.

    Args:
        dice: Mean Dice of all validations so far, in order.
    """
    if len(dice) <= VALIDATIONS:
        return False
    return max(dice[-VALIDATIONS:]) < max(dice[:-VALIDATIONS]) + GAIN


def shorten(done: float, *, cut_at: float) -> float:
    """Share of a shortened run that is done.

    The learning rate goes on from where it is, and reaches its end after a tenth of
    the time that was spent up to the cut.

    Args:
        done: Share of the whole run that is over.
        cut_at: Share at which it was cut; 0 for a run that was not.
    """
    if not 0 < cut_at < done:
        return done
    return min(cut_at + (done - cut_at) * (1 - cut_at) / (COOL_DOWN * cut_at), 1.0)


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
        """Whether a share of the run has passed since the last validation."""
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


@dataclass(kw_only=True)
class ValidationMonitor:
    """Validates on whole cases while training, and warns of what it finds."""

    schedule: ValidationSchedule
    plan: Plan
    settings: TrainingSettings
    state: TrainingState
    batches: BatchSource
    device: torch.device
    record: MetricLog
    progress: Progress
    alarms: list[str] = field(default_factory=list)
    """What the user was warned of."""
    dice_history: list[dict[str, float]] = field(default_factory=list)

    def begin(self) -> None:
        """Warns of structures that no training case shows."""
        self._warn_once(*absence_alarms(self.batches.sampling_stats))

    def due(self, done: float) -> bool:
        """Whether a share of the run has passed since the last validation."""
        return self.schedule.due(done, self.state)

    def take(self, done: float) -> None:
        """Scores the cases, records it, and draws the conclusions.

        Args:
            done: Share of the run that is over.

        Raises:
            LostProcessError: Another process of the run ended.
        """
        with self.batches.watch.measure("validation"):
            scores = self.schedule.take(self._predictor(), self.state, done)
        self.state.network.train()  # the one that was scored, where none is averaged
        sampling_stats = self.batches.whole_sampling_stats()
        self.record.add({**scores, **sampling_stats.metrics()})
        self._raise_alarms(scores, sampling_stats)
        self._cut_short(done)
        self.progress.say(
            f"step {self.state.step}: Dice {scores['dice/mean']:.4f} on whole "
            "validation cases"
        )

    def _predictor(self) -> Predictor:
        return Predictor(
            self.state.validated_network.eval(),
            self.plan,
            self.device,
            InferenceSettings(precision=self.state.precision),
        )

    def _raise_alarms(
        self, scores: dict[str, float], sampling_stats: SamplingStats
    ) -> None:
        """Warns once of each structure that is starved or collapses."""
        self.dice_history.append(
            {name.removeprefix("dice/"): dice for name, dice in scores.items()}
        )
        sampling = self.settings.sampling
        self._warn_once(
            *starvation_alarms(sampling_stats, sampling),
            *collapse_alarms(
                self.dice_history,
                sampling_stats,
                sampling,
                loss=self.settings.loss.name,
            ),
        )

    def _warn_once(self, *alarms: str) -> None:
        for alarm in alarms:
            subject = _subject(alarm)
            if subject not in {_subject(known) for known in self.alarms}:
                self.alarms.append(alarm)
                self.progress.warn(alarm)

    def _cut_short(self, done: float) -> None:
        """Brings the run to its end where it has stopped getting better."""
        state, wanted = self.state, self.settings.early_stop
        if wanted and not state.cut_at and has_plateaued(state.validations):
            state.cut_at = done
            self.progress.say(
                f"Dice has not risen for {VALIDATIONS} validations: the run ends"
            )


def _subject(alarm: str) -> str:
    """An alarm without its numbers, which change between validations."""
    return "".join(sign for sign in alarm if not sign.isdigit())
