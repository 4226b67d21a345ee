"""A trace of some steps: what the processor and the device did, call by call."""

from pathlib import Path
from types import TracebackType
from typing import Any

from torch import profiler

from medseg.files import atomic_write, write_text

FOLDER = "profile"
"""Below a run's folder."""

WAIT, WARMUP, STEPS = 5, 2, 5
"""Steps before the trace, steps that warm up the profiler, and steps traced."""

ROWS = 25
"""Operations in the table."""


class Profile:
    """Writes ``trace.json`` and ``operations.txt`` after the first steps of a run."""

    def __init__(self, folder: Path, *, wanted: bool, on_gpu: bool) -> None:
        """Takes where to write.

        Args:
            folder: The run's folder.
            wanted: Whether there is anything to do.
            on_gpu: Whether a GPU is traced, too.
        """
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
        table = done.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=ROWS, max_name_column_width=60
        )
        write_text(self._folder / "operations.txt", table + "\n")
