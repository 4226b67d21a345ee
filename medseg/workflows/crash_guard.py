"""Remembering which scan a process was working on when it was ended abruptly.

A decoder that crashes on damaged bytes, or a machine that runs out of memory, ends the
whole process. A scan that did so twice is passed over once and named.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CRASHES = ".medseg.crashes"
_MOST = 2


class CrashGuard:
    """Counts abrupt ends, by scan, in a file of the output folder."""

    def __init__(self, folder: Path) -> None:
        """Reads what earlier processes left."""
        self._path = folder / CRASHES
        self._counts = _read(self._path)

    def has_crashed(self, scan: str) -> bool:
        """Whether a scan is to be passed over; the next call tries it again."""
        if self._counts.get(scan, 0) < _MOST:
            return False
        self._settle(scan)
        return True

    @contextmanager
    def working_on(self, scan: str) -> Iterator[None]:
        """Marks a scan while the block runs; any orderly end takes the mark away."""
        self._counts[scan] = self._counts.get(scan, 0) + 1
        self._write()
        try:
            yield
        finally:
            self._settle(scan)

    def _settle(self, scan: str) -> None:
        self._counts.pop(scan, None)
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
