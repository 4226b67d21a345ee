"""What became of each scan of a conversion: the table ``conversion.csv``."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from medseg.errors import OutputError
from medseg.io.identity import masked
from medseg.io.sources import ScanSource
from medseg.plain_text import below_folder, one_line, without_dates_and_uids
from medseg.tables import csv_row, read_rows, write_rows
from medseg.volume import LabelMap, Volume

TABLE = "conversion.csv"
GROWING = ".medseg.conversion.csv"
"""What is known of a call that has not ended."""
DONE, KEPT, FAILED, SET_ASIDE = "done", "unchanged", "failed", "set aside"


@dataclass(frozen=True)
class Conversion:
    """One line of the table: what became of one scan."""

    name: str
    status: str
    output: str = ""
    source: str = ""
    """Folder or file below the input; parts that name a patient are masked."""
    kind: str = ""
    num_files: int = 0
    shape: str = ""
    spacing_mm: str = ""
    orientation: str = ""
    affine: str = ""
    voxel_type: str = ""
    corrections: str = ""
    """What was repaired, resampled or decided, with numbers."""
    structures: str = ""
    """Values and names of the labels, for a segmentation or a structure set."""
    reason: str = ""
    """Why the scan failed or was set aside."""
    seconds: str = ""
    settings: str = ""
    content_sha256: str = ""


_COLUMNS = tuple(field.name for field in fields(Conversion))


@dataclass(frozen=True)
class ConversionSummary:
    """All lines of the table, and the manifests written beside it."""

    conversions: tuple[Conversion, ...]
    manifests: tuple[Path, ...] = ()

    def count(self, *statuses: str) -> int:
        """How many scans have one of some statuses."""
        return sum(conversion.status in statuses for conversion in self.conversions)

    def describe(self) -> str:
        """How many scans there are of each status, in words."""
        words = [f"{self.count(DONE)} converted"]
        words += [
            f"{self.count(status)} {status}"
            for status in (KEPT, FAILED, SET_ASIDE)
            if self.count(status)
        ]
        return ", ".join(words)

    @property
    def exit_code(self) -> int:
        """0 where all scans are there, 1 where some failed or nothing is there."""
        return 1 if self.count(FAILED) or not self.count(DONE, KEPT) else 0


def geometry_columns(volume: Volume | LabelMap) -> dict[str, Any]:
    """Columns that say where the voxels lie."""
    rows = np.round(volume.affine[:3], 6).tolist()
    return {
        "shape": " ".join(map(str, volume.voxels.shape)),
        "spacing_mm": " ".join(f"{s:.6g}" for s in volume.grid.spacing),
        "orientation": volume.grid.orientation,
        "affine": " ".join(f"{value:.6g}" for row in rows for value in row),
        "voxel_type": str(volume.voxels.dtype),
    }


def without_identity(
    line: Conversion, source: ScanSource, identifiers: frozenset[str]
) -> Conversion:
    """The line without absolute paths, parts of patients' names and days."""
    is_dicom = source.series is not None or source.is_fault

    def cleaned(text: str) -> str:
        text = masked(below_folder(text, source.root), identifiers)
        return one_line(without_dates_and_uids(text) if is_dicom else text)

    texts: dict[str, Any] = {
        name: cleaned(getattr(line, name))
        for name in ("source", "reason", "corrections", "structures")
    }
    return replace(line, **texts)


def earlier_lines(table: Path) -> dict[str, Conversion]:
    """Lines of an earlier call by name; none where the table cannot be used."""
    try:
        columns, rows = read_rows(table.read_text(encoding="utf-8"))
        if tuple(columns) != _COLUMNS:
            return {}
        whole = [row for row in rows if None not in row.values()]  # a kill cuts lines
        lines = [_line_of(row) for row in whole]
    except (OSError, ValueError, TypeError):
        return {}
    return {line.name: line for line in lines}


def _line_of(row: dict[str, Any]) -> Conversion:
    return Conversion(**{**row, "num_files": int(row["num_files"])})


class ConversionTable:
    """The table of a folder while it grows: a line is appended to a file beside it.

    Writing the whole table after each scan would take time by the square of their
    number. A killed call leaves the file, which the next one takes up.
    """

    def __init__(self, folder: Path) -> None:
        """Reads what earlier calls left."""
        self._path, self._growing = folder / TABLE, folder / GROWING
        self.earlier = earlier_lines(self._path) | earlier_lines(self._growing)
        """Lines of earlier calls, by name."""
        self.lines: list[Conversion] = []
        """Lines of this call."""
        self._stream: TextIO | None = None

    def add(self, line: Conversion) -> None:
        """Keeps a scan's line, on disk as well.

        Raises:
            OutputError: It cannot be written.
        """
        self.lines.append(line)
        try:
            if self._stream is None:
                self._stream = self._begin()
            self._stream.write(csv_row(asdict(line).values()))
            self._stream.flush()
        except OSError as error:
            raise OutputError(
                f"{self._growing}: cannot be written: {error.strerror}"
            ) from error

    @contextmanager
    def growing(self) -> Iterator[None]:
        """Writes the table when the `with` block ends, however that is.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            yield
        except BaseException:
            with suppress(OutputError):  # what ended the block is the thing to report
                self._finish(is_whole=False)
            raise
        self._finish(is_whole=True)

    def _finish(self, *, is_whole: bool) -> None:
        """Writes the table.

        Args:
            is_whole: Whether every scan has its line; if not, those that were not
                reached keep what earlier calls said of them.
        """
        lines = {line.name: line for line in self.lines}
        rest = {} if is_whole else self.earlier
        merged = [*self.lines, *(rest[name] for name in rest.keys() - lines.keys())]
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        write_rows(self._path, _COLUMNS, (asdict(line).values() for line in merged))
        with suppress(OSError):
            self._growing.unlink(missing_ok=True)

    def _begin(self) -> TextIO:
        """The growing file, which begins with what is known from earlier calls."""
        known = (asdict(line).values() for line in self.earlier.values())
        write_rows(self._growing, _COLUMNS, known)
        return self._growing.open("a", encoding="utf-8", newline="")
