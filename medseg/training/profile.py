"""A trace of some steps: what the processor and the device did, call by call."""

import csv
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import profiler

from medseg.files import atomic_write

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
