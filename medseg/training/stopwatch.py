"""Where the time of a run goes, how busy its device is, and a trace of its calls."""

import csv
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import profiler

from medseg.files import atomic_write


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
        """Share of the time since the start in which the threads used a processor."""
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

    def __exit__(self, *_: object) -> None:
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


FOLDER = "profile"
"""Below a run's folder."""

WAIT, WARMUP, STEPS = 5, 2, 5
"""Steps before the trace, steps that warm up the profiler, and steps traced."""

TABLE = "operations.csv"
FIELDS = ("operation", "calls", "processor_ms", "gpu_ms")


class Profile:
    """Writes ``trace.json`` and ``operations.csv`` after the first steps of a run.

    Args:
        folder: The run's folder.
        wanted: Whether there is anything to do.
        on_gpu: Whether a GPU is traced, too.
    """

    def __init__(self, folder: Path, *, wanted: bool, on_gpu: bool) -> None:
        self._folder = folder / FOLDER
        self._profiler: Any = None
        if wanted:
            activities = [profiler.ProfilerActivity.CPU]
            if on_gpu:
                activities.append(profiler.ProfilerActivity.CUDA)
            self._profiler = profiler.profile(
                activities=activities,
                schedule=profiler.schedule(
                    wait=WAIT, warmup=WARMUP, active=STEPS, repeat=1
                ),
                on_trace_ready=self._write,
            )

    def __enter__(self) -> "Profile":
        """Starts counting steps."""
        if self._profiler is not None:
            self._profiler.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the trace, where the run was shorter than it."""
        if self._profiler is not None:
            self._profiler.__exit__(kind, error, trace)

    def step(self) -> None:
        """Tells that a step is over."""
        if self._profiler is not None:
            self._profiler.step()

    def _write(self, done: Any) -> None:
        with atomic_write(self._folder / "trace.json") as temporary:
            done.export_chrome_trace(str(temporary))
        rows = sorted(map(_row, done.key_averages()), key=_cost, reverse=True)
        path = self._folder / TABLE
        with (
            atomic_write(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(FIELDS)
            writer.writerows(rows)


def most_expensive(folder: Path, *, number: int = 8) -> dict[str, float]:
    """Share of a traced run's time in its most expensive operations.

    Args:
        folder: The run's folder.
        number: Of operations.

    Returns:
        Nothing where the run was not traced.
    """
    path = folder / FOLDER / TABLE
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    on_gpu = any(float(row["gpu_ms"]) for row in rows)
    cost = {
        r["operation"]: float(r["gpu_ms" if on_gpu else "processor_ms"]) for r in rows
    }
    total = sum(cost.values()) or 1.0
    ranked = sorted(cost, key=lambda name: -cost[name])
    return {name: cost[name] / total for name in ranked[:number]}


def _row(event: Any) -> tuple[str, int, float, float]:
    """Name, calls, and milliseconds of its own on the processor and on the GPU."""
    on_gpu = getattr(event, "self_device_time_total", 0)
    own = event.self_cpu_time_total
    return event.key, event.count, round(own / 1e3, 3), round(on_gpu / 1e3, 3)


def _cost(row: tuple[str, int, float, float]) -> tuple[float, float]:
    return row[3], row[2]
