"""Ending a run early and cleanly: Ctrl-C, SIGTERM or a stop file."""

import signal
from pathlib import Path
from types import FrameType, TracebackType

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
