"""What a run writes and reports to, what ends it early, and its result."""

import csv
import io
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from torch import nn

from medseg.errors import OutputError
from medseg.files import write_text
from medseg.progress import Progress
from medseg.sampling import SamplingStats
from medseg.training.batches import ALONE
from medseg.training.logger import RunLogger
from medseg.training.process_group import ProcessGroup
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
        stream = io.StringIO()
        writer = csv.DictWriter(
            stream, FIELDS, extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(kept)  # names of structures may hold commas
        write_text(path, stream.getvalue())

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


STOP_FILE = "STOP"
"""Create a file of this name in the run's folder and training ends after the step."""


class Interruption:
    """Notes that the run should end; a second Ctrl-C ends it at once."""

    def __init__(self, folder: Path, *, patient: bool = False) -> None:
        """Watches for a stop file in a folder and for signals inside `with`.

        Args:
            folder: Where the stop file would be.
            patient: A second signal ends nothing; ``torchrun`` repeats the first.
        """
        self._patient = patient
        self._stop_file = folder / STOP_FILE
        self._signal = ""
        self._previous: dict[signal.Signals, signal.Handlers] = {}

    def __enter__(self) -> "Interruption":
        """Takes over SIGINT and SIGTERM where the main thread allows it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._note)  # type: ignore[assignment]
            except ValueError:  # not the main thread: only the stop file counts
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the signals back; one of several processes that ends early keeps them.

        ``torchrun`` ends the others as soon as one of them has ended. Given back at
        once, its SIGTERM would take a process away that still has to write, track and
        say why the run ended.
        """
        early = kind is not None or bool(self._signal)
        for number, handler in self._previous.items():
            deaf = self._patient and early
            signal.signal(number, signal.SIG_IGN if deaf else handler)

    def reason(self) -> str:
        """Why the run should end now, or an empty text."""
        if self._signal:
            return self._signal
        if self._stop_file.exists():
            return f"stop file {self._stop_file.name} found"
        return ""

    def clear(self) -> None:
        """Removes a stop file left by an earlier run."""
        self._stop_file.unlink(missing_ok=True)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._signal and not self._patient:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name


@dataclass(frozen=True)
class RunContext:
    """What a run writes to and is watched through."""

    folder: Path
    """The run's folder."""
    identity: str
    """Hash of data, plan and settings; only a checkpoint that has it is continued."""
    logger: RunLogger
    progress: Progress
    processes: ProcessGroup = ALONE
    """The processes that train together; all but the first are given a logger and a
    progress that say nothing."""


@dataclass(frozen=True)
class FitResult:
    """Result of a run.

    Attributes:
        network: The averaged network where there is one, in eval mode.
        steps: Optimiser steps, over all parts of a resumed run.
        seconds: Time spent training, likewise.
        best_dice: Best mean Dice seen on the way; −1 without a look.
        stopped_by: Why the run ended early; empty when it ran its length.
        shares: Share of this part's time by what it was spent on.
        precision: Number format of the convolutions.
        sampling_stats: What was sampled.
        alarms: What the user was warned of on the way.
        utilisation: How busy the device was, in [0, 1]; None where it cannot tell.
    """

    network: nn.Module
    steps: int
    seconds: float
    best_dice: float
    stopped_by: str
    shares: dict[str, float]
    precision: str
    sampling_stats: SamplingStats
    alarms: tuple[str, ...]
    utilisation: float | None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run; a stop file ends it as if it were done."""
        return self.stopped_by.startswith("SIG")
