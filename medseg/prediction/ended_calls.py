"""Scans during which a call ended without a word, as when memory runs out.

Reading happens in processes of its own; the network works in the call's own, which the
system kills where memory runs out. A scan that was being segmented then comes last in
the next call, so that all others are done; after `MOST` such ends it is passed over
once, so that the call itself comes to its end.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.prediction.scan import Scan

SEGMENTING = ".medseg.segmenting"
"""Name of the list in the folder of results; there while a scan is segmented."""

MOST = 3
"""So many calls a scan may end before one passes over it."""


class EndedCalls:
    """How many calls ended during each scan, kept in the folder of results."""

    def __init__(self, folder: Path) -> None:
        """Reads what earlier calls left."""
        self._path = folder / SEGMENTING
        self._counts = _read(self._path)

    def during(self, scan: Scan) -> int:
        """How many calls in succession ended while the scan was segmented."""
        return self._counts.get(scan.name, 0)

    def in_order(self, scans: Sequence[Scan]) -> list[Scan]:
        """The scans, those that ended calls after all others."""
        return sorted(scans, key=self.during)

    @contextmanager
    def marked(self, scan: Scan) -> Iterator[None]:
        """Inside the `with` block the scan counts as the one that ended the call.

        Any orderly end, an error too, takes the mark away.
        """
        self._counts[scan.name] = self.during(scan) + 1
        self._write()
        try:
            yield
        finally:
            self.forget(scan)

    def forget(self, scan: Scan) -> None:
        """Counts anew for a scan."""
        if self._counts.pop(scan.name, None) is not None:
            self._write()

    def _write(self) -> None:
        """Without waiting for the disk: the system outlives the process."""
        with suppress(OSError):
            if self._counts:
                self._path.write_text(json.dumps(self._counts), encoding="utf-8")
            else:
                self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, int]:
    """Counts by name; a list that was cut short by a kill is an empty one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(scan): int(count) for scan, count in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
