"""Ending a program that would run for ever.

The first signal ends it after the work in hand, the second at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from medseg.progress import Progress


@dataclass
class Stop:
    """Whether, and by which signal, the program was asked to end."""

    event: threading.Event = field(default_factory=threading.Event)
    interrupted: bool = False
    """By Ctrl-C, and not by the manager of a service."""

    def wait(self, seconds: float) -> bool:
        """Waits, less long where an end is asked for; whether one is."""
        return self.event.wait(seconds)

    def __bool__(self) -> bool:
        """Whether an end was asked for."""
        return self.event.is_set()


@contextmanager
def stop_on_signals(progress: Progress) -> Iterator[Stop]:
    """Turns Ctrl-C and SIGTERM into a request to end, inside the `with` block."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if stop:
            raise KeyboardInterrupt
        stop.interrupted = number == signal.SIGINT
        stop.event.set()
        progress.say("ending after the work in hand; once more to end at once")

    before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
