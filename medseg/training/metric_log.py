"""Measurements of a run: one line each in metrics.csv, and to whoever tracks it."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import OutputError
from medseg.files import write_text
from medseg.training.logger import RunLogger
from medseg.training.state import TrainingState

FIELDS = ("step", "seconds", "metric", "value")


class MetricsFile:
    """Appends measurements to a file that is readable at any time.

    Args:
        path: The CSV file; None keeps nothing.
        resume_at: Keep what was measured up to this step and drop the rest, which
            the resumed run measures again; None starts anew.
    """

    def __init__(self, path: Path | None, *, resume_at: int | None = None) -> None:
        self._path = path
        if path is None:
            return
        kept = [] if resume_at is None else _rows_up_to(path, resume_at)
        lines = [",".join(FIELDS), *(",".join(row[f] for f in FIELDS) for row in kept)]
        write_text(path, "\n".join(lines) + "\n")

    def add(self, metrics: Mapping[str, float], *, step: int, seconds: float) -> None:
        """Appends one line per metric.

        Raises:
            OutputError: The file cannot be written.
        """
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                for name, value in metrics.items():
                    writer.writerow([step, f"{seconds:.3f}", name, f"{value:.7g}"])
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written: {error.strerror}"
            ) from error


def _rows_up_to(path: Path, step: int) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("value")]
    return [row for row in rows if row["step"].isdigit() and int(row["step"]) <= step]


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
