"""Where the time of a run goes, and how busy its device is."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch


class Stopwatch:
    """Sums up the time spent in named parts of a run.

    What a GPU is asked for is timed by events on the device, which nobody waits for.

    Args:
        device: What `measure_device` times; None for the processor.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, Any, Any]] = []
        self._on_gpu = device is not None and device.type == "cuda"
        self._start = time.perf_counter()
        self._processor = time.process_time()

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Adds the time spent in the block to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - start

    @contextmanager
    def measure_device(self, part: str) -> Iterator[None]:
        """Adds the time that the device spends on what the block asks it for."""
        if not self._on_gpu:
            with self.measure(part):
                yield
            return
        events: Any = torch.cuda.Event  # without types in torch
        begin, end = events(enable_timing=True), events(enable_timing=True)
        begin.record()
        try:
            yield
        finally:
            end.record()
            self._events.append((part, begin, end))
            if len(self._events) > 1000:
                self._collect()

    def shares(self) -> dict[str, float]:
        """Share of the time since the start spent in each part; the rest is other."""
        self._collect()
        total = max(time.perf_counter() - self._start, 1e-9)
        shares = {part: spent / total for part, spent in self._seconds.items()}
        shares["other"] = max(0.0, 1 - sum(shares.values()))
        return shares

    def processor_share(self) -> float:
        """Share of the threads' time since the start that they were at work."""
        total = max(time.perf_counter() - self._start, 1e-9)
        worked = time.process_time() - self._processor
        return min(worked / (total * torch.get_num_threads()), 1.0)

    def _collect(self) -> None:
        """Takes over what the device has finished."""
        waiting = []
        for part, begin, end in self._events:
            if end.query():
                self._seconds[part] += begin.elapsed_time(end) / 1e3
            else:
                waiting.append((part, begin, end))
        self._events = waiting


SECONDS = 1.0
"""Between two readings of a GPU."""


class Utilisation:
    """Samples a GPU's utilisation; for the CPU, the time its threads were at work."""

    def __init__(self, device: torch.device, watch: Stopwatch) -> None:
        self._device, self._watch = device, watch
        self._samples: list[int] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Utilisation":
        """Starts looking."""
        if self._device.type == "cuda":
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def share(self) -> float | None:
        """In [0, 1]; None where the GPU's driver cannot be asked (nvidia-ml-py)."""
        if self._device.type == "cpu":
            return self._watch.processor_share()
        if not self._samples:
            return None
        return sum(self._samples) / len(self._samples) / 100

    def _run(self) -> None:
        while not self._stop.wait(SECONDS):
            try:
                self._samples.append(torch.cuda.utilization(self._device))
            except Exception:  # noqa: BLE001 - no nvidia-ml-py, or it has no answer
                return  # for this device, as for a part of one (MIG)
