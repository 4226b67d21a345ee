"""The page of a folder of predictions: failures, remarks, a picture of each scan.

It is ``report.html`` beside ``predictions.csv``, and says the same to people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError
from medseg.files import write_text
from medseg.labels import LabelScheme
from medseg.model import Model
from medseg.pages import data_uri, render
from medseg.plausibility.judgement import NOT_CHECKED
from medseg.prediction.records import Prediction
from medseg.prediction.viewer_pages import address_of
from medseg.reporting.html_table import Cell, Table, make_table
from medseg.reporting.page import ShownPicture
from medseg.reporting.palette import colors_of
from medseg.volume import LabelMap, Volume

PAGE, PICTURES = "report.html", ".pictures"
"""Hidden, so that nobody takes the pictures for label maps or scans."""
MOST_PICTURES = 200
"""A page with more would be slow to open."""
_SIZES = {
    "volumes_ml": "{name} [ml]",
    "areas_um2": "{name} [µm²]",
    "areas_px": "{name} [pixels]",
    "presence": "presence of {name}",
}
"""What the table shows of each structure: field of a line, and title."""
_SECTIONS = {
    "failed": "Failed and set aside",
    "lacking": "Outputs that could not be made",
    "suspect": "Suspect: unlike the scans of training",
    "remarks": "Remarks",
    "pictures": "Pictures",
    "cases-box": "Every scan",
    "facts": "How it was done",
}


def draw_scan(
    out: Path, name: str, volume: Volume, label_map: LabelMap, scheme: LabelScheme
) -> None:
    """Writes the small picture of a scan; none where it cannot be drawn.

    Args:
        out: The output folder.
        name: Of the scan.
        volume: The scan.
        label_map: Its label map, on the scan's grid.
        scheme: What its values mean.
    """
    from medseg.reporting.mosaic import make_tile, write_tile

    try:
        tile = make_tile(
            volume, prediction=label_map, reference=None, scheme=scheme, title=name
        )
        write_tile(picture_of(out, name), tile, scheme=scheme)
    except MedsegError:
        picture_of(out, name).unlink(missing_ok=True)


def write_folder_page(
    out: Path, lines: Sequence[Prediction], *, model: Model, engine: str = ""
) -> None:
    """Writes ``report.html`` beside the table of an output folder.

    Args:
        out: The output folder.
        lines: What became of each scan, those of earlier calls among them.
        model: What segmented them.
        engine: What ran the network, in words.

    Raises:
        OutputError: It cannot be written.
    """
    failed = [line for line in lines if not line.is_segmented]
    odd = [line for line in lines if line.is_segmented and line.warnings]
    suspect = [line for line in lines if line.is_segmented and line.doubts]
    lacking = [line for line in lines if line.not_written]
    pictures, left_out = _pictures(out, [line for line in lines if line.is_segmented])
    parts: dict[str, Any] = {
        "failed": _table(("scan", "status", "where", "reason"), map(_fault, failed)),
        "lacking": _table(("scan", "output", "why"), _missing(lacking)),
        "suspect": _table(("scan", "", "why"), map(_suspicion, suspect)),
        "remarks": _table(("scan", "remarks"), map(_remarks, odd)),
        "pictures": pictures,
        "cases-box": _every_scan(out, lines),
    }
    labels = model.plan.labels
    there = {name for name, content in parts.items() if content}
    num_failed = sum(line.failed for line in failed)
    page = render(
        "predictions.html",
        title=f"Predictions: {out.resolve().name}",
        subtitle=f"{model.plan.name}: {', '.join(model.plan.labels.structures)}",
        figures={
            "segmented": str(len(lines) - len(failed)),
            "failed": str(num_failed),
            "set aside": str(len(failed) - num_failed),
            **({"lacking an output": str(len(lacking))} if lacking else {}),
            "suspect": str(len(suspect)),
            "with remarks": str(len(odd)),
            **_cells_in_all(lines),
        },
        warnings=(),
        sections={
            name: text
            for name, text in _SECTIONS.items()
            if name in there or name == "facts"
        },
        failed=parts["failed"],
        lacking=parts["lacking"],
        suspect=parts["suspect"],
        remarks=parts["remarks"],
        pictures=pictures,
        legend={} if labels.instances else colors_of(labels),
        left_out=left_out,
        scans=parts["cases-box"],
        facts={"Model": _model_facts(model, engine)},
    )
    write_text(out / PAGE, page)


def _cells_in_all(lines: Sequence[Prediction]) -> dict[str, str]:
    counts = [line.num_objects for line in lines if line.num_objects is not None]
    return {"cells": str(sum(counts))} if counts else {}


def _model_facts(model: Model, engine: str) -> dict[str, str]:
    origin = model.provenance
    facts = {
        "identity": model.identity,
        "data set": origin.dataset,
        "made": origin.created,
        "labels": model.plan.labels.describe(),
        "engine": engine,
        "plausibility": model.ranges.describe() if model.ranges else NOT_CHECKED,
    }
    return {name: text for name, text in facts.items() if text}


def _pictures(out: Path, lines: Sequence[Prediction]) -> tuple[list[ShownPicture], str]:
    """Scans with remarks first, then the smallest findings; and what is left out."""
    drawn = [line for line in lines if picture_of(out, line.scan).is_file()]
    ranked = sorted(
        drawn, key=lambda line: (not line.doubts, not line.warnings, line.size)
    )
    shown = []
    for line in ranked[:MOST_PICTURES]:
        uri = data_uri(picture_of(out, line.scan))
        detail = line.size_text + (" · suspect" * bool(line.doubts))
        detail += " · see remarks" * bool(line.warnings)
        link = address_of(out, line.scan)
        shown.append(ShownPicture(line.scan, detail, uri, uri, link))
    missing = len(lines) - len(shown)
    return shown, f"{missing} scans are not pictured." if missing else ""


def picture_of(out: Path, name: str) -> Path:
    """Where the small picture of a scan lies."""
    return out / PICTURES / f"{name}.png"


def _fault(line: Prediction) -> list[Cell]:
    kind = "bad" if line.failed else "quiet"
    status = Cell(line.status, line.status, "text", pill=kind)
    return [_text(line.scan), status, _text(line.source), _text(line.reason)]


def _missing(lines: Iterable[Prediction]) -> list[list[Cell]]:
    return [
        [_text(line.scan), _text(output), _text(why)]
        for line in lines
        for output, why in line.not_written.items()
    ]


def _remarks(line: Prediction) -> list[Cell]:
    return [_text(line.scan), _text("; ".join(line.warnings))]


def _suspicion(line: Prediction) -> list[Cell]:
    mark = Cell("suspect", "suspect", "text", pill="bad")
    return [_text(line.scan), mark, _text("; ".join(line.doubts))]


def _every_scan(out: Path, lines: Sequence[Prediction]) -> Table | None:
    columns: list[tuple[str, str, str]] = [
        (title.format(name=name), field, name)
        for field, title in _SIZES.items()
        for name in dict.fromkeys(n for line in lines for n in getattr(line, field))
    ]
    are_counted = any(line.num_objects is not None for line in lines)
    header = ["Scan", "Status", "Plausibility", *(["Cells"] if are_counted else [])]
    header += [*(title for title, _, _ in columns), "Seconds"]
    rows = []
    for line in lines:
        kind = "bad" if line.failed else "quiet"
        link = address_of(out, line.scan) if line.is_segmented else ""
        scan = Cell(line.scan, line.scan, "name", link=link)
        row = [scan, Cell(line.status, line.status, "text", pill=kind)]
        likely, pill = line.plausibility, "bad" if line.doubts else "quiet"
        row.append(Cell(likely, likely, "text", pill=pill) if likely else _text("–"))
        if are_counted:
            row.append(_count(line.num_objects))
        row += [_number(getattr(line, field).get(name)) for _, field, name in columns]
        rows.append([*row, _number(line.seconds)])
    if not rows:
        return None
    return make_table(header, rows, sortable=True, identifier="cases")


def _table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table | None:
    made = make_table(header, rows, cards=True)
    return made if made.rows else None


def _text(text: str) -> Cell:
    return Cell(text, text, "text")


def _count(value: int | None) -> Cell:
    return _number(None) if value is None else Cell(str(value), value, "number")


def _number(value: float | None) -> Cell:
    return (
        Cell("–", style="number")
        if value is None
        else Cell(f"{value:.4g}", value, "number")
    )
