"""Where the time of a job goes, part by part; kept with a run, summed over a study."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from medseg.files import write_text
from medseg.reporting.text import format_duration

FILE = "time.json"
"""Seconds of each part, below a run's folder."""


class TimeSpent:
    """Seconds of the parts of a job, in the order in which they first came."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(seconds or {})

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Adds the time spent in the block to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({part: time.perf_counter() - start})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds seconds that were measured elsewhere."""
        for part, spent in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + spent

    def write(self, folder: Path) -> None:
        """Keeps the seconds with a run.

        Raises:
            OutputError: The folder cannot be written.
        """
        rounded = {part: round(spent, 3) for part, spent in self.seconds.items()}
        write_text(folder / FILE, json.dumps(rounded, indent=2) + "\n")

    def describe(self) -> str:
        """What took longest, such as ``"training steps: 71% of 20 min 3 s"``."""
        total = sum(self.seconds.values())
        if total <= 0:
            return "nothing was done anew"
        longest = max(self.seconds, key=lambda part: self.seconds[part])
        share = self.seconds[longest] / total
        return f"{longest}: {share:.0%} of {format_duration(total)}"


def time_of(runs: Iterable[Path]) -> TimeSpent:
    """What runs took together; a run that did not note its time counts as nothing."""
    spent = TimeSpent()
    for run in runs:
        try:
            spent.add(json.loads((run / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return spent
