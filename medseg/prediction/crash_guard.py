"""Remembering which scan a process was working on when it was ended abruptly.

A decoder that crashes on damaged bytes, or a machine that runs out of memory, ends the
whole process. A scan that did so twice is passed over once and named. Several scans may
be marked at a time; after an abrupt end they go one by one, so that the second time
tells which one it was.
"""

import json
import threading
from contextlib import suppress
from pathlib import Path

CRASHES = ".medseg.crashes"
_MOST = 2


class CrashGuard:
    """Counts abrupt ends, by scan, in a file of the output folder."""

    def __init__(self, folder: Path) -> None:
        """Reads what earlier processes left."""
        self._path = folder / CRASHES
        self._counts = _read(self._path)
        self._was_ended = bool(self._counts)
        self._open: set[str] = set()
        self._guard = threading.Lock()

    def has_crashed(self, scan: str) -> bool:
        """Whether a scan is to be passed over; the next call tries it again."""
        if self._counts.get(scan, 0) < _MOST:
            return False
        self._settle(scan)
        return True

    @property
    def is_wary(self) -> bool:
        """Whether an earlier process ended abruptly: then scans had better go alone."""
        return self._was_ended

    def begin(self, scan: str) -> None:
        """Marks a scan; any orderly end takes the mark away."""
        with self._guard:
            self._counts[scan] = self._counts.get(scan, 0) + 1
            self._open.add(scan)
            self._write()

    def end(self, scan: str) -> None:
        """Takes a scan's mark away."""
        self._settle(scan)

    def settle_all(self) -> None:
        """Takes away the marks of all scans that were begun: an orderly end."""
        for scan in list(self._open):
            self._settle(scan)

    def _settle(self, scan: str) -> None:
        with self._guard:
            self._open.discard(scan)
            if self._counts.pop(scan, None) is not None:
                self._write()

    def _write(self) -> None:
        """Without waiting for the disk: the system outlives the process."""
        with suppress(OSError):
            if self._counts:
                self._path.write_text(json.dumps(self._counts), encoding="utf-8")
            else:
                self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(scan): int(count) for scan, count in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
