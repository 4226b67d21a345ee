"""How busy the device of a run is."""

import threading
from types import TracebackType

import torch

from medseg.training.stopwatch import Stopwatch

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
