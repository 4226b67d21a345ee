"""The report of a run or an evaluation: one HTML page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import MissingFileError
from medseg.files import write_text
from medseg.pages import data_uri, render
from medseg.reporting.content import Picture, ReportContent
from medseg.reporting.html_table import Table, case_table, plain_table, summary_table
from medseg.reporting.palette import STRUCTURE_COLORS
from medseg.reporting.plots import (
    DISTRIBUTIONS,
    curve_groups,
    plot_curves,
    plot_distributions,
    plot_runs,
    read_history,
    to_svg,
)
from medseg.reporting.text import format_duration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SECTIONS = {
    "scores": "Scores",
    "distributions": "Distributions",
    "pictures": "Pictures",
    "cases-box": "Every case",
    "curves": "Training",
    "sampling": "Sampling statistics",
    "time": "Where the time went",
    "facts": "Environment and hashes",
}
"""Headings of a report's sections, in their order."""
_SHARES_OF_SEEN = ("patches_share", "voxels_share")
_OBJECT_COLUMNS = ("structure", "metric", "mean", "ci_low", "ci_high", "median", "n")


@dataclass(frozen=True)
class _ScoreTable:
    """A table of scores, with what stands above and below it."""

    content: Table
    title: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ShownPicture:
    """A picture in a page, small, and in full after a click."""

    name: str
    detail: str
    small: str
    full: str
    link: str = ""
    """Address of the viewer page, relative to this one."""


def write_page(
    path: Path,
    content: ReportContent,
    *,
    template: str = "report.html",
    first: Mapping[str, str] | None = None,
    **lead: Any,
) -> None:
    """Writes a report as a single HTML file that needs no network.

    Args:
        path: The HTML file.
        content: What to show; parts that are left out have no section.
        template: A template that puts more before a report's sections.
        first: Headings of these further sections.
        lead: What they show.

    Raises:
        MissingFileError: A picture or the history is not there.
        OutputError: The file cannot be written.
    """
    curves, is_named = _curves(content.histories)
    total = sum(content.seconds.values())
    cases, sampling = _filled(content.cases), _filled(content.sampling_stats)
    parts: dict[str, Any] = {
        "scores": _scores(content),
        "distributions": [] if cases is None else _distributions(cases),
        "pictures": _worst_first(content.pictures, content.viewers),
        "cases": None if cases is None else case_table(cases, links=content.viewers),
        "curves": curves,
        "sampling": None
        if sampling is None
        else plain_table(sampling, shares=_SHARES_OF_SEEN),
        "time": _time(content.seconds, total),
        "facts": content.facts,
    }
    there = {"cases-box" if name == "cases" else name for name in parts if parts[name]}
    num_runs = len(content.histories)
    is_unnamed = bool(curves) and not is_named and num_runs > 1
    page = render(
        template,
        title=content.title,
        subtitle=content.subtitle,
        figures=content.figures,
        warnings=content.warnings,
        sections={
            **(first or {}),
            **{name: text for name, text in SECTIONS.items() if name in there},
        },
        viewers=bool(content.viewers),
        unnamed_runs=num_runs if is_unnamed else 0,
        legend=content.legend,
        total_time=format_duration(total),
        **parts,
        **lead,
    )
    write_text(path, page)


def _filled(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """The table; None where it has no row."""
    return None if table is None or table.empty else table


def _scores(content: ReportContent) -> list[_ScoreTable]:
    tables = []
    if (summary := _filled(content.summary)) is not None:
        tables.append(_ScoreTable(summary_table(summary)))
    if (lesions := _filled(content.lesions)) is not None:
        table = plain_table(lesions, shares=["sensitivity"])
        tables.append(_ScoreTable(table, "Lesions by size"))
    if (objects := _filled(content.objects)) is not None:
        table = plain_table(objects[[c for c in _OBJECT_COLUMNS if c in objects]])
        tables.append(_ScoreTable(table, "Single objects"))
    if tables:
        tables[-1] = replace(tables[-1], notes=content.notes)
    for named in content.tables:
        notes = (named.note,) if named.note else ()
        tables.append(
            _ScoreTable(plain_table(named.table, cards=True), named.title, notes)
        )
    return tables


def svg(figure: Figure | None) -> Any:
    """A figure as markup, which is ours; None where there is no figure."""
    return next(iter(_svgs([figure])), None)


def _svgs(figures: Iterable[Figure | None]) -> list[Any]:
    """Figures as markup, without those that there are not."""
    from markupsafe import Markup

    return [Markup(to_svg(figure)) for figure in figures if figure is not None]


def _distributions(cases: pd.DataFrame) -> list[Any]:
    """A panel for each metric, so that a narrow page can put one below the other."""
    return _svgs(plot_distributions(cases, metrics=(name,)) for name in DISTRIBUTIONS)


def _worst_first(
    pictures: Sequence[Picture], viewers: Mapping[str, str]
) -> list[ShownPicture]:
    ranked = sorted(pictures, key=lambda p: (math.isnan(p.score), p.score, p.case_id))
    return [
        shown_picture(picture, viewers.get(picture.case_id, "")) for picture in ranked
    ]


def shown_picture(picture: Picture, link: str = "") -> ShownPicture:
    """A picture as a page carries it; the link leads to its viewer."""
    full = data_uri(picture.path)
    small = full if picture.thumbnail is None else data_uri(picture.thumbnail)
    return ShownPicture(picture.case_id, picture.detail, small, full, link)


def _curves(histories: Mapping[str, Path]) -> tuple[list[Any], bool]:
    """Panels of one run, or one figure of several; and whether it names them."""
    for path in histories.values():
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
    read = {name: read_history(path) for name, path in histories.items()}
    if len(read) == 1:
        (history,) = read.values()
        return _svgs(plot_curves(part) for part in curve_groups(history)), False
    figure = plot_runs(read)
    return _svgs([figure]), figure is not None and bool(figure.legends)


def _time(seconds: Mapping[str, float], total: float) -> list[dict[str, str]]:
    """Each part with its share of the time and its colour, longest first."""
    ranked = sorted(seconds.items(), key=lambda item: -item[1]) if total > 0 else []
    return [
        {
            "name": part,
            "percent": f"{100 * spent / total:.2f}",
            "share": f"{spent / total:.0%}",
            "duration": format_duration(spent),
            "color": STRUCTURE_COLORS[n % len(STRUCTURE_COLORS)],
        }
        for n, (part, spent) in enumerate(ranked)
    ]
