"""Measurements of a run: into its metrics.csv, and to whoever keeps track of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from medseg.training.logger import RunLogger
from medseg.training.metrics_file import MetricsFile
from medseg.training.state import TrainingState


@dataclass(frozen=True)
class MetricLog:
    """Notes measurements with the step, the seconds and the epoch they belong to."""

    state: TrainingState
    history: MetricsFile
    logger: RunLogger
    batch_size: int
    """Patches of a step."""
    patches_per_epoch: int

    def add(self, metrics: Mapping[str, float]) -> None:
        """One point of each curve, at this step."""
        step = self.state.step
        patches = step * self.batch_size
        metrics = {**metrics, "epoch": patches / self.patches_per_epoch}
        self.history.add(metrics, step=step, seconds=self.state.seconds)
        self.logger.log_metrics(metrics, step=step)
