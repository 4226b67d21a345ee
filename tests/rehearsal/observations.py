"""What a rehearsal saw: launches, bytes, waits and copies, by part of the work."""

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOM = str(Path(__file__).parent)
PROJECT = str(Path(__file__).parents[2] / "medseg")


@dataclass
class PartOfWork:
    """What one part of the work asked the device for.

    Attributes:
        launches: Operations that compute, by name.
        lines: The same by line of the project.
        moved: Bytes that they read and wrote.
        waits: Reasons for the host to wait for the device, with their line.
        uploads: Bytes copied to the device.
    """

    launches: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    uploads: int = 0

    @property
    def num_launches(self) -> int:
        return self.launches.total()

    def describe(self, *, most: int = 12) -> str:
        """The lines that launch the most, for a message."""
        lines = (f"{n} {line}" for line, n in self.lines.most_common(most))
        return "\n".join([f"{self.num_launches} launches:", *lines])


class Observations:
    """Counts what happens, under the name of the part that is at work.

    The name is shared by all threads: the backward pass runs in one of its own while
    the thread that asked for it waits.
    """

    def __init__(self) -> None:
        self.parts: defaultdict[str, PartOfWork] = defaultdict(PartOfWork)
        self.part = "rest"
        self._lock = threading.Lock()

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """Names the part of the work inside `with`; parts may lie within others."""
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    def note_launch(self, operator: str, *, number: int = 1, moved: int = 0) -> None:
        with self._lock:
            part = self.parts[self.part]
            part.launches[operator] += number
            part.lines[project_line()] += number
            part.moved += moved

    def note_wait(self, reason: str) -> None:
        with self._lock:
            self.parts[self.part].waits[f"{reason} at {project_line()}"] += 1

    def note_upload(self, num_bytes: int) -> None:
        with self._lock:
            self.parts[self.part].uploads += num_bytes

    def waits(self, *parts: str) -> list[str]:
        """Waits of some parts, or of all, in words."""
        chosen = parts or tuple(self.parts)
        return [
            f"{part}: {number}x {reason}"
            for part in chosen
            for reason, number in self.parts[part].waits.items()
        ]


def project_line() -> str:
    """The innermost line of the project that is being executed."""
    frame, line = sys._getframe(1), ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PROJECT):
            return f"medseg{file[len(PROJECT) :]}:{frame.f_lineno}"
        if not line and not file.startswith(ROOM) and "/torch/" not in file:
            line = f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return line or "a backward pass"
