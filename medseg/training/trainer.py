"""A run under way: step, look, save, until its time is over or somebody stops it."""

import time
from dataclasses import dataclass

from medseg.progress import Meter
from medseg.training.checkpointer import Checkpointer
from medseg.training.interruption import Interruption
from medseg.training.length import Clock, RunLength, seconds_on
from medseg.training.metric_log import MetricLog
from medseg.training.plateau import shorten
from medseg.training.profile import Profile
from medseg.training.state import TrainingState
from medseg.training.stopwatch import Stopwatch
from medseg.training.training_steps import TrainingSteps
from medseg.training.validation_monitor import ValidationMonitor

REPORT_SECONDS = 2.0
"""Time between points of the loss curve."""


@dataclass(frozen=True)
class Trainer:
    """The parts of a run, for the length of its loop."""

    state: TrainingState
    steps_taken: TrainingSteps
    monitor: ValidationMonitor
    checkpointer: Checkpointer
    record: MetricLog
    profile: Profile
    watch: Stopwatch
    checkpoint_every: float
    """Seconds between checkpoints."""
    clock: Clock = "wall"
    """What the seconds of the run are counted on."""

    def loop(
        self,
        length: RunLength,
        interruption: Interruption,
        meter: Meter,
    ) -> str:
        """Steps until the length is reached; returns why it ended early, if so.

        Raises:
            NonFiniteLossError: The loss became NaN or infinite.
            LostProcessError: Another process of the run ended.
            TrainingError: The budget is too short for a training.
        """
        state, first = self.state, self.state.step
        start = seconds_on(self.clock) - state.seconds
        saved = reported = time.monotonic()
        while True:
            now = time.monotonic()
            done, reason, save_due = self._agree(
                shorten(length.done(state.step), cut_at=state.cut_at),
                interruption.reason(),
                save_due=now - saved > self.checkpoint_every,
            )
            if save_due:
                saved = now
                self.steps_taken.guard.check()
                self.checkpointer.save()
            if state.step > first and self.monitor.due(done):
                self.steps_taken.guard.check()
                self.monitor.take(done)
                state.seconds = seconds_on(self.clock) - start
                continue
            if done >= 1:
                length.ended(state.step)
                break
            if reason:
                return reason
            self.steps_taken.take(done)
            length.taken(state.step)
            self.profile.step()
            now = time.monotonic()
            state.seconds = seconds_on(self.clock) - start
            if now - reported > REPORT_SECONDS:
                reported = now
                self._report_loss(done, meter)
        meter.update(1.0, f"step {state.step}")
        return ""

    def _agree(
        self, done: float, reason: str, *, save_due: bool
    ) -> tuple[float, str, bool]:
        """The first process's share and clock, and anybody's reason to stop."""
        processes = self.state.processes
        if processes.size == 1:
            return done, reason, save_due
        led = (done, float(save_due)) if processes.is_main else (0.0, 0.0)
        with self.watch.measure("waiting for other processes"):
            done, save, stop = processes.highest((*led, float(bool(reason))))
            if stop:
                reason = next(filter(None, processes.gather(reason)))
        return done, reason, bool(save)

    def _report_loss(self, done: float, meter: Meter) -> None:
        loss = float(self.steps_taken.last_loss)
        meter.update(done, f"step {self.state.step}, loss {loss:.3f}")
        self.record.add(
            {"loss": loss, "learning_rate": self.steps_taken.learning_rate(done)}
        )
