"""One scan on its way from files to a label map on disk, and the line it ends in."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from medseg.plausibility.judgement import Plausibility
from medseg.prediction.attempts import Attempts, reason_of
from medseg.prediction.captured_warnings import remarks
from medseg.prediction.records import FAILED, Prediction
from medseg.prediction.scan import Scan
from medseg.prediction.scan_volume import ScanVolume
from medseg.prediction.sizes import Sizes
from medseg.volume import LabelMap


@dataclass
class ScanJob:
    """A scan between two stages.

    Attributes:
        scan: The scan.
        line: What became of it, once that is known; later stages do nothing then.
        content: Hash of its files.
        replaced: Its line of an earlier call whose results are made anew.
        loaded: Its volume, until it has been segmented.
        label_map: Its result, until it has been written.
        written: Results that are there already.
        attempts: What goes with the label map and could not be made.
        sizes: How much of each structure was found, where that is known before
            writing.
        num_objects: How many single objects were found, of models that find such.
        presence: Probability that each structure occurs, where the model tells.
        like: File whose header the label map takes over.
        notes: What was repaired, decided or noticed.
        plausibility: Whether it is like the scans of training.
        seconds: Time spent on it so far.
        peak_memory_mb: After segmenting.
    """

    scan: Scan
    line: Prediction | None = None
    content: str = ""
    replaced: Prediction | None = None
    loaded: ScanVolume | None = None
    label_map: LabelMap | None = None
    written: list[str] = field(default_factory=list)
    attempts: Attempts = field(default_factory=Attempts)
    sizes: Sizes = field(default_factory=Sizes)
    num_objects: int | None = None
    presence: dict[str, float] = field(default_factory=dict)
    like: Path | None = None
    notes: list[str] = field(default_factory=list)
    plausibility: Plausibility = field(default_factory=Plausibility)
    seconds: float = 0.0
    peak_memory_mb: float = 0.0

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Counts time, keeps what is warned of, turns any failure into the line.

        Raises:
            OutputError: The disk is full or read-only: nothing more can be written.
        """
        started = time.perf_counter()
        reason = ""
        with remarks() as found:
            try:
                yield
            except Exception as error:  # noqa: BLE001 - one scan never stops the others
                reason = reason_of(error)
        self.seconds += time.perf_counter() - started
        self.notes += sorted(set(found))
        if reason:
            self.line = Prediction(
                self.scan.name,
                FAILED,
                source=self.scan.shown,
                seconds=self.seconds,
                reason=self.scan.cleaned(reason),
            )
