"""What became of each scan of a conversion: the table ``conversion.csv``."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.files import write_text
from medseg.io.identity import masked
from medseg.io.sources import ScanSource
from medseg.plain_text import one_line, without_dates
from medseg.volume import LabelMap, Volume

TABLE = "conversion.csv"
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


@dataclass(frozen=True)
class ConversionSummary:
    """All lines of the table, and the manifests written beside it."""

    conversions: tuple[Conversion, ...]
    manifests: tuple[Path, ...] = ()

    def count(self, status: str) -> int:
        """How many scans have a status."""
        return sum(conversion.status == status for conversion in self.conversions)

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
        """0 where all scans are there, 1 where some failed."""
        return 1 if self.count(FAILED) else 0


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
        text = masked(text.replace(f"{source.root}/", ""), identifiers)
        return one_line(without_dates(text) if is_dicom else text)

    texts: dict[str, Any] = {
        name: cleaned(getattr(line, name))
        for name in ("source", "reason", "corrections", "structures")
    }
    return replace(line, **texts)


def earlier_lines(table: Path) -> dict[str, Conversion]:
    """Lines of an earlier call by name; none where the table cannot be used."""
    known = [field.name for field in fields(Conversion)]
    try:
        text = table.read_text(encoding="utf-8")
        rows = csv.DictReader(io.StringIO(text))
        if rows.fieldnames != known:
            return {}
        lines = [_line_of(row) for row in rows]
    except (OSError, ValueError, TypeError, csv.Error):
        return {}
    return {line.name: line for line in lines}


def _line_of(row: dict[str, Any]) -> Conversion:
    return Conversion(**{**row, "num_files": int(row["num_files"])})


def write_table(path: Path, lines: Sequence[Conversion]) -> None:
    """The table, whole; written after each scan so that a killed call is continued."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(Conversion)])
    writer.writerows([list(asdict(line).values()) for line in lines])
    write_text(path, stream.getvalue())
