"""Where the time of a run goes."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Sums up the time spent in named parts of a run."""

    def __init__(self) -> None:
        """Starts at zero."""
        self._seconds: dict[str, float] = defaultdict(float)
        self._start = time.perf_counter()

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Adds the time spent in the block to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - start

    def shares(self) -> dict[str, float]:
        """Share of the time since the start spent in each part; the rest is other."""
        total = max(time.perf_counter() - self._start, 1e-9)
        shares = {part: spent / total for part, spent in self._seconds.items()}
        shares["other"] = max(0.0, 1 - sum(shares.values()))
        return shares
