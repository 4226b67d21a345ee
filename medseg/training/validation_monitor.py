"""Validation while training: curves, alarms, the end of a run that no longer improves."""

from dataclasses import dataclass, field

import torch

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
from medseg.training.batches import BatchSource
from medseg.training.metric_log import MetricLog
from medseg.training.plateau import VALIDATIONS, has_plateaued
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState
from medseg.training.validation_schedule import ValidationSchedule


@dataclass(kw_only=True)
class ValidationMonitor:
    """Validates on whole cases while training, and warns of what it finds."""

    validations: ValidationSchedule
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
        """Whether a share of the run has passed since the last look."""
        return self.validations.due(done, self.state)

    def take(self, done: float) -> None:
        """Scores the cases, records it, and draws the conclusions.

        Args:
            done: Share of the run that is over.

        Raises:
            LostProcessError: Another process of the run ended.
        """
        with self.batches.watch.measure("validation"):
            scores = self.validations.take(self._predictor(), self.state, done)
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
                f"Dice has not risen for {VALIDATIONS} validations: the run comes to its end"
            )


def _subject(alarm: str) -> str:
    """An alarm without its numbers, which change from look to look."""
    return "".join(sign for sign in alarm if not sign.isdigit())
