"""Tables for pages: cells, how they look and what they sort by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medseg.evaluation.metrics import metric_named
from medseg.reporting.text import format_number

if TYPE_CHECKING:
    import pandas as pd

CASE_METRICS = ("dice", "nsd", "hd95_mm", "assd_mm", "sensitivity", "precision")
_COUNTS = ("n", "n_missed", "n_invented", "n_absent")
_ALWAYS = ("n", "n_missed")


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, what it sorts by, how it looks."""

    text: str
    sort_by: float | str = ""
    style: str = ""
    """CSS class."""
    detail: str = ""
    """A smaller line below it."""
    pill: str = ""
    """``bad`` or ``quiet`` for a word in a rounded box."""
    is_main: bool = False
    """Whether it is in bold."""
    link: str = ""
    """Address that a name leads to, relative to the page."""

    @property
    def is_name(self) -> bool:
        """Whether the text may break behind underscores and hyphens."""
        return self.style in ("name", "text")


@dataclass(frozen=True)
class Head:
    """The head of a column, aligned as its cells are."""

    text: str
    is_text: bool


@dataclass(frozen=True)
class Table:
    """A table as a page shows it."""

    header: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    kind: str = ""
    """CSS classes: ``sortable`` by a click on a head, ``plain`` for one as wide as its
    columns, ``cards`` for one whose rows become cards on a narrow page."""
    identifier: str = ""


def make_table(
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    sortable: bool = False,
    plain: bool = False,
    cards: bool = False,
    identifier: str = "",
) -> Table:
    """A table; columns sort by a click on their heads where asked for.

    A plain one is as wide as its columns, others fill the page; rows become cards on a
    narrow page where asked for.
    """
    lines = tuple(tuple(row) for row in rows)
    first = lines[0] if lines else (Cell(""),) * len(header)
    heads = zip(header, first, strict=True)
    return Table(
        tuple(Head(text, cell.is_name) for text, cell in heads),
        lines,
        " ".join(
            name
            for name, is_so in (
                ("sortable", sortable),
                ("plain", plain),
                ("cards", cards),
            )
            if is_so
        ),
        identifier,
    )


def summary_table(summary: pd.DataFrame) -> Table:
    """Mean with interval of every metric, a row per structure, with counts."""
    metrics = [
        name
        for name in dict.fromkeys(summary["metric"])
        if name not in ("volume_ml", "reference_ml", "relative_volume_error")
    ]
    counts = [
        name
        for name in _COUNTS
        if name in summary and (name in _ALWAYS or summary[name].any())
    ]
    rows = []
    for structure, part in summary.groupby("structure", sort=False):
        by_metric = {str(row["metric"]): row for _, row in part.iterrows()}
        first = part.iloc[0]
        cells = [Cell(str(structure), str(structure), "name")]
        cells += [_count_cell(first[name], name) for name in counts]
        cells += [_interval_cell(by_metric.get(name), name) for name in metrics]
        rows.append(cells)
    titles = [_titled(name) for name in metrics]
    table = make_table(["Structure", *map(_count_title, counts), *titles], rows)
    return replace(table, kind="scores cards")


def case_table(cases: pd.DataFrame, *, links: Mapping[str, str] | None = None) -> Table:
    """Every case and structure; sorts by a click on a head.

    Args:
        cases: A row per case and structure.
        links: Address of the page of each case, where there is one.
    """
    known = links or {}
    metrics = [name for name in CASE_METRICS if name in cases and cases[name].any()]
    extra = [
        name
        for name in ("num_lesions", "num_lesions_found", "num_false_lesions")
        if name in cases
    ]
    volumes = ("reference_ml", "volume_ml", "volume_error_ml")
    header = ["Case", "Structure", "Outcome", *map(_titled, (*metrics, *volumes))]
    header += [name.removeprefix("num_").replace("_", " ") for name in extra]
    rows = []
    for record in cases.to_dict(orient="records"):
        cells = [
            Cell(
                str(record["case_id"]),
                str(record["case_id"]),
                "name",
                link=known.get(str(record["case_id"]), ""),
            ),
            Cell(str(record["structure"]), str(record["structure"]), "text"),
            _outcome_cell(str(record["outcome"])),
        ]
        cells += [_number_cell(record[name], name) for name in (*metrics, *volumes)]
        cells += [_plain_cell(record[name]) for name in extra]
        rows.append(cells)
    return make_table(header, rows, sortable=True, identifier="cases")


def plain_table(
    table: pd.DataFrame, *, shares: Sequence[str] = (), cards: bool = False
) -> Table:
    """Any table as it is, with readable heads; named columns as percentages."""
    header = [_plain_title(str(name)) for name in table.columns]
    rows = [
        [
            _share_cell(value) if str(name) in shares else _plain_cell(value)
            for name, value in record.items()
        ]
        for record in table.to_dict(orient="records")
    ]
    return make_table(header, rows, plain=True, cards=cards)


def _interval_cell(row: pd.Series | None, metric: str) -> Cell:
    if row is None:
        return Cell("–", style="number")
    known = metric_named(metric)
    mean = float(row["mean"])
    show: Callable[[float], str] = lambda v: format_number(v, unit=known.unit)  # noqa: E731
    low, high = (float(row.get(name, math.nan)) for name in ("ci_low", "ci_high"))
    interval = "" if math.isnan(low) else f"{show(low)} – {show(high)}"
    return Cell(show(mean), _sortable(mean), "number", detail=interval, is_main=True)


def _number_cell(value: float, metric: str) -> Cell:
    unit, number = metric_named(metric).unit, float(value)
    return Cell(format_number(number, unit=unit), _sortable(number), "number")


def _count_cell(value: float, name: str) -> Cell:
    if math.isnan(float(value)):
        return Cell("–", style="number")
    alarming = name in ("n_missed", "n_invented") and value > 0
    style = "number alarm" if alarming else "number"
    return Cell(str(int(value)), float(value), style)


def _outcome_cell(outcome: str) -> Cell:
    kind = "bad" if outcome in ("missed", "invented") else "quiet"
    return Cell(outcome, outcome, "text", pill=kind)


def _share_cell(value: object) -> Cell:
    number = float(value) if isinstance(value, (int, float)) else math.nan
    text = "–" if math.isnan(number) else f"{number:.1%}"
    return Cell(text, _sortable(number), "number")


def _plain_cell(value: object) -> Cell:
    if isinstance(value, str):
        return Cell(value, value, "text")
    number = float(value) if isinstance(value, (int, float)) else math.nan
    if math.isnan(number):
        return Cell("–", style="number")
    digits = 3 if abs(number) < 10 else 1
    text = f"{int(number):,}" if number.is_integer() else f"{number:,.{digits}f}"
    return Cell(text, number, "number")


def _sortable(value: float) -> float | str:
    """What a number sorts by: nothing where it is none."""
    return "" if math.isnan(value) else value


def _titled(name: str) -> str:
    metric = metric_named(name)
    return metric.title + f" [{metric.unit}]" * bool(metric.unit)


def _count_title(name: str) -> str:
    return "n" if name == "n" else name.removeprefix("n_")


def _plain_title(name: str) -> str:
    known = metric_named(name)
    if known.title != name:
        return _titled(name)
    return name.removeprefix("n_").replace("_", " ")
