"""Load of the processor, memory, disk and GPU while a run goes on, where asked for.

MLflow's own monitors measure; what they found goes through the run's queue, so that a
server that is away holds nothing up.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

SECONDS = 10.0
"""Time between two measurements, as MLflow's own."""

PREFIX = "system/"
"""What MLflow's pages know these metrics by."""


class SystemMetrics:
    """Measures in a thread until it is stopped.

    Args:
        tell: Gets the values by name, and the seconds since the run's start as step.
        started: Start of the run, in seconds since 1970; a resumed run goes on from it.
        seconds: Time between two measurements.
    """

    def __init__(
        self,
        tell: Callable[[Mapping[str, float], int], None],
        *,
        started: float,
        seconds: float = SECONDS,
    ) -> None:
        self._tell = tell
        self._started = started
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._work, name="medseg-system-metrics", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Measures no more."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        monitors = _monitors()
        while not self._ended.wait(self._seconds):
            try:
                values = _measured(monitors)
            except Exception:  # a gauge must not end a training
                logging.getLogger("medseg.tracking").debug("no gauge", exc_info=True)
                return
            self._tell(values, int(time.time() - self._started))


def _monitors() -> list[Any]:
    """MLflow's monitors, which have no types."""
    from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, gpu_monitor

    kinds: list[Any] = [cpu_monitor.CPUMonitor, disk_monitor.DiskMonitor]
    found = [kind() for kind in kinds]
    watch_gpu: Any = gpu_monitor.GPUMonitor
    try:
        found.append(watch_gpu())
    except Exception:  # noqa: BLE001  # no GPU, or no nvidia-ml-py to ask it
        logging.getLogger("medseg.tracking").debug("no GPU to watch")
    return found


def _measured(monitors: list[Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values |= {f"{PREFIX}{k}": v for k, v in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return values
