"""What became of each scan: the table ``predictions.csv``."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from medseg.files import write_text
from medseg.tables import csv_text, read_rows

TABLE = "predictions.csv"
DONE, UNCHANGED, FAILED, SET_ASIDE = "done", "unchanged", "failed", "set aside"
PLAUSIBLE = "plausible"
_BEFORE = ("scan", "status", "output", "source", "seconds", "peak_memory_mb")
_AFTER = (
    "plausibility",
    "suspect_because",
    "not_written",
    "warnings",
    "reason",
    "input_sha256",
    "model",
    "settings",
    "engine",
)
_COUNT = "n_cells"
_SIZES = {
    "_ml": "volumes_ml",
    "_area_um2": "areas_um2",
    "_area_px": "areas_px",
    "_presence": "presence",
}
"""What the columns of a structure end in, and the field that they hold."""
_WRITING_SHARE = 0.05
"""Largest share of time that goes into writing the table."""


@dataclass(frozen=True)
class Prediction:
    """What became of one scan."""

    scan: str
    status: str
    """``done``, ``unchanged``, ``failed`` or ``set aside``."""
    outputs: tuple[str, ...] = ()
    """Names of the files made of it, below the output folder; the label map first."""
    source: str = ""
    """Where it lies below the input; parts that name a patient or a day are masked."""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    volumes_ml: dict[str, float] = field(default_factory=dict)
    """Volume of each structure."""
    areas_um2: dict[str, float] = field(default_factory=dict)
    """Area of each structure, of pictures that say how large a pixel is."""
    areas_px: dict[str, float] = field(default_factory=dict)
    """The same in pixels, of those that do not."""
    num_objects: int | None = None
    """Number of cells (single objects); None of models that do not tell them apart."""
    presence: dict[str, float] = field(default_factory=dict)
    """Probability that each structure occurs, of models with a presence head."""
    doubts: tuple[str, ...] = ()
    """Why it is suspect: it, or what was found, is unlike training; a sentence each."""
    unchecked: str = ""
    """Why that was not checked."""
    not_written: dict[str, str] = field(default_factory=dict)
    """By output, why it could not be made beside the label map."""
    warnings: tuple[str, ...] = ()
    """What was repaired, resampled or noticed."""
    reason: str = ""
    """Why it failed or was set aside."""
    input_hash: str = ""
    model: str = ""
    settings: str = ""
    """What else the result depends on."""
    engine: str = ""
    """What ran the network, in words."""
    licence: str = ""
    """What the models that made it say about their licences; empty for medseg's own."""

    @property
    def failed(self) -> bool:
        """Whether there should be a label map and is none."""
        return self.status == FAILED

    @property
    def size(self) -> float:
        """How much was found, in the unit of `size_text`."""
        for sizes in (self.volumes_ml, self.areas_um2, self.areas_px):
            if sizes:
                return sum(sizes.values())
        return 0.0

    @property
    def size_text(self) -> str:
        """How much was found, in words: cells, or else volume or area."""
        if self.num_objects is not None:
            return f"{self.num_objects} cell{'' if self.num_objects == 1 else 's'}"
        unit = "µm²" if self.areas_um2 else "pixels" if self.areas_px else "ml"
        return f"{self.size:.4g} {unit}"

    @property
    def plausibility(self) -> str:
        """``plausible``, ``suspect``, why it was not checked, or nothing."""
        if not self.is_segmented:
            return ""
        return "suspect" if self.doubts else self.unchecked or PLAUSIBLE

    @property
    def remark(self) -> str:
        """Why it failed, was set aside, or is suspect."""
        suspect = f"suspect: {'; '.join(self.doubts)}" if self.doubts else ""
        return self.reason or suspect

    @property
    def missing(self) -> list[str]:
        """Outputs that could not be made, a sentence each."""
        return [f"no {output}: {why}" for output, why in self.not_written.items()]

    @property
    def is_segmented(self) -> bool:
        """Whether there is a label map."""
        return self.status in (DONE, UNCHANGED)


class PredictionTable:
    """The table of an output folder, on disk and up to date.

    Lines of earlier calls stay as long as their label maps are there.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the table of earlier calls, if there is one that can be used."""
        self._path = folder / TABLE
        self._kept = {
            line.scan: line
            for line in _read(self._path)
            if line.is_segmented and _all_there(folder, line)
        }
        self._lines = dict(self._kept)
        self._written, self._cost, self._is_stale = 0.0, 0.0, True

    def earlier(self, scan: str) -> Prediction | None:
        """The line of a scan whose results are there."""
        return self._kept.get(scan)

    @property
    def lines(self) -> list[Prediction]:
        """What became of each scan, by name."""
        return sorted(self._lines.values(), key=lambda line: line.scan)

    def put(self, line: Prediction) -> None:
        """Adds or replaces a scan's line.

        A scan that is set aside, by rules for series, keeps the line of its results.
        Where writing has become slow, because the table is long, several lines share
        one writing; `flush` writes what is left.

        Raises:
            OutputError: The table cannot be written.
        """
        if line.status == SET_ASIDE and line.scan in self._kept:
            return  # what an earlier call made of it is there
        self._lines[line.scan] = line
        if line.is_segmented:
            self._kept[line.scan] = line
        else:
            self._kept.pop(line.scan, None)
        self._is_stale = True
        if time.monotonic() - self._written > self._cost / _WRITING_SHARE:
            self.flush()

    def flush(self) -> None:
        """Writes the table, whole or not at all, if it has changed.

        Raises:
            OutputError: The table cannot be written.
        """
        if not self._is_stale:
            return
        started = time.monotonic()
        write_text(self._path, _text(self._lines.values()))
        self._written = time.monotonic()
        self._cost = self._written - started
        self._is_stale = False


def _all_there(folder: Path, line: Prediction) -> bool:
    return bool(line.outputs) and all((folder / n).is_file() for n in line.outputs)


def _text(lines: Iterable[Prediction]) -> str:
    ordered = sorted(lines, key=lambda line: line.scan)
    columns = list(_BEFORE)
    if any(line.num_objects is not None for line in ordered):
        columns.append(_COUNT)
    for ending, field_name in _SIZES.items():
        found = (name for line in ordered for name in getattr(line, field_name))
        columns += [f"{name}{ending}" for name in dict.fromkeys(found)]
    rows = (_row(line) for line in ordered)
    columns += _AFTER
    columns += ["licence"] if any(line.licence for line in ordered) else []
    return csv_text(columns, ([row.get(c, "") for c in columns] for row in rows))


def _row(line: Prediction) -> dict[str, str]:
    return {
        "scan": line.scan,
        "status": line.status,
        "output": "; ".join(line.outputs),
        "source": line.source,
        "seconds": f"{line.seconds:.3f}",
        "peak_memory_mb": f"{line.peak_memory_mb:.0f}",
        _COUNT: "" if line.num_objects is None else str(line.num_objects),
        **{
            f"{name}{ending}": f"{value:.6g}"
            for ending, field_name in _SIZES.items()
            for name, value in getattr(line, field_name).items()
        },
        "plausibility": line.plausibility,
        "suspect_because": "; ".join(line.doubts),
        "not_written": "; ".join(f"{o}: {why}" for o, why in line.not_written.items()),
        "warnings": "; ".join(line.warnings),
        "reason": line.reason,
        "input_sha256": line.input_hash,
        "model": line.model,
        "settings": line.settings,
        "engine": line.engine,
        "licence": line.licence,
    }


def _read(path: Path) -> list[Prediction]:
    """Lines of an earlier call, but those that cannot be used."""
    try:
        rows = read_rows(path.read_text(encoding="utf-8"))[1]
    except (OSError, ValueError):
        return []
    lines = []
    for row in rows:  # one that somebody edited costs itself alone
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            lines.append(_line(row))
    return lines


def _line(row: dict[str, str]) -> Prediction:
    return Prediction(
        scan=row["scan"],
        status=row["status"],
        outputs=_outputs(row["output"], row["scan"]),
        source=row["source"],
        seconds=float(row["seconds"]),
        peak_memory_mb=float(row["peak_memory_mb"]),
        num_objects=int(row[_COUNT]) if row.get(_COUNT) else None,
        **{
            field_name: _numbers_under(ending, row)
            for ending, field_name in _SIZES.items()
        },
        doubts=tuple(filter(None, (row.get("suspect_because") or "").split("; "))),
        unchecked=_unchecked(row.get("plausibility")),
        not_written=_not_written(row.get("not_written") or ""),
        warnings=tuple(filter(None, row["warnings"].split("; "))),
        reason=row["reason"],
        input_hash=row["input_sha256"],
        model=row["model"],
        settings=row["settings"],
        engine=row.get("engine") or "",
        licence=row.get("licence") or "",
    )


def _outputs(text: str, scan: str) -> tuple[str, ...]:
    """Names of files, which all hold the scan's; that may hold what parts them."""
    parts = text.replace(scan, "\0").split("; ")
    return tuple(part.replace("\0", scan) for part in parts if part)


def _unchecked(plausibility: str | None) -> str:
    """Why a scan was not checked; tables of older versions do not say."""
    if plausibility is None:
        return "not checked"
    return "" if plausibility in (PLAUSIBLE, "suspect") else plausibility


def _not_written(text: str) -> dict[str, str]:
    """Reasons by output; tables of older versions have none."""
    parts = (part.partition(": ") for part in text.split("; ") if part)
    return {output: why for output, _, why in parts}


def _numbers_under(ending: str, row: dict[str, str]) -> dict[str, float]:
    """Numbers by structure, from the columns with an ending."""
    return {
        key.removesuffix(ending): float(value)
        for key, value in row.items()
        if key.endswith(ending) and value
    }
