"""One self-contained HTML page: nothing is loaded from anywhere, today or later."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from medseg import __version__
from medseg.errors import MissingFileError
from medseg.files import write_text
from medseg.reporting.content import NamedTable, Picture, ReportContent
from medseg.reporting.html_table import case_table, plain_table, summary_table
from medseg.reporting.palette import STRUCTURE_COLORS
from medseg.reporting.plots import (
    plot_curves,
    plot_distributions,
    plot_runs,
    read_history,
    to_svg,
)
from medseg.reporting.text import format_duration

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)
_LARGE_PICTURE = 200_000
"""Bytes of a PNG from which the page carries it as JPEG."""
_SHARES_OF_SEEN = ("patches_share", "voxels_share")


@dataclass(frozen=True)
class _Section:
    """A part of the page; empty ones are left out."""

    identifier: str
    title: str
    html: str


def write_page(path: Path, content: ReportContent) -> None:
    """Writes a report as a single HTML file that needs no network.

    Args:
        path: The HTML file.
        content: What to show; parts that are left out have no section.

    Raises:
        MissingFileError: A picture or the history is not there.
        OutputError: The file cannot be written.
    """
    sections = [section for section in _sections(content) if section.html]
    links = "".join(
        f'<a href="#{s.identifier}">{escape(s.title)}</a>' for s in sections
    )
    body = "\n".join(
        f'<section id="{s.identifier}"><h2>{escape(s.title)}</h2>{s.html}</section>'
        for s in sections
    )
    write_text(
        path,
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(content.title)}</title>
<style>
{_resource("page.css")}</style>
</head>
<body>
<header><div class="wide"><h1>{escape(content.title)}</h1>
<p>{escape(content.subtitle)}</p>{_figures(content.figures)}</div></header>
<nav><div class="wide">{links}</div></nav>
<main class="wide">
{_warnings(content.warnings)}
{body}
</main>
<footer class="wide">Written by medseg {escape(__version__)}. Research use; not a
medical device.</footer>
<dialog><img alt="The picture in full"></dialog>
<script>
{_resource("page.js")}</script>
</body>
</html>
""",
    )


def _sections(content: ReportContent) -> list[_Section]:
    return [
        _Section("scores", "Scores", _scores(content)),
        _Section("distributions", "Distributions", _distributions(content)),
        _Section("pictures", "Pictures", _pictures(content.pictures)),
        _Section("cases-box", "Every case", _cases(content)),
        _Section("curves", "Training", _curves(content.histories)),
        _Section("ledger", "Sampling statistics", _sampling_stats(content)),
        _Section("time", "Where the time went", _time(content.seconds)),
        _Section("facts", "Environment and hashes", _facts(content.facts)),
    ]


def _figures(figures: Mapping[str, str]) -> str:
    cells = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in figures.items()
    )
    return f'<div class="figures">{cells}</div>' if cells else ""


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return (
        f'<section class="warnings"><h2>Know this first</h2><ul>{items}</ul></section>'
    )


def _scores(content: ReportContent) -> str:
    parts = []
    if content.summary is not None and len(content.summary):
        parts.append(summary_table(content.summary))
    if content.lesions is not None and len(content.lesions):
        parts.append("<h3>Lesions by size</h3>")
        parts.append(plain_table(content.lesions, shares=["sensitivity"]))
    if content.objects is not None and len(content.objects):
        shown = [c for c in _OBJECT_COLUMNS if c in content.objects]
        parts.append("<h3>Single objects</h3>")
        parts.append(plain_table(content.objects[shown]))
    if parts:
        parts += [f"<p>{escape(note)}</p>" for note in content.notes]
    parts += [_named_table(named) for named in content.tables]
    return "".join(parts)


def _named_table(named: NamedTable) -> str:
    note = f"<p>{escape(named.note)}</p>" if named.note else ""
    return f"<h3>{escape(named.title)}</h3>{plain_table(named.table)}{note}"


_OBJECT_COLUMNS = ("structure", "metric", "mean", "ci_low", "ci_high", "median", "n")


def _distributions(content: ReportContent) -> str:
    if content.cases is None or content.cases.empty:
        return ""
    figure = plot_distributions(content.cases)
    if figure is None:
        return ""
    return (
        f'<div class="plot">{to_svg(figure)}</div><p>Dots: cases. Box: quartiles and '
        "median. Diamond: mean. Red crosses: structures that were missed or invented, "
        "at the worst value.</p>"
    )


def _pictures(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    ranked = sorted(pictures, key=lambda p: (math.isnan(p.score), p.score, p.case_id))
    cells = "".join(_picture(picture) for picture in ranked)
    return f'<div class="mosaic">{cells}</div><p>Worst first; a click enlarges.</p>'


def _picture(picture: Picture) -> str:
    full = _data_uri(picture.path)
    small = full if picture.thumbnail is None else _data_uri(picture.thumbnail)
    name, detail = escape(picture.case_id), escape(picture.detail)
    return (
        f'<figure><button type="button" data-full="{full}"><img alt="Overlay of '
        f'{name}" src="{small}"></button><figcaption>{name}<span>{detail}</span>'
        "</figcaption></figure>"
    )


def _cases(content: ReportContent) -> str:
    if content.cases is None or content.cases.empty:
        return ""
    tools = (
        '<div class="tools"><input id="filter" type="search" aria-label="Filter" '
        'placeholder="Filter: case, structure, missed …"><span id="count"></span></div>'
    )
    return tools + case_table(content.cases)


def _curves(histories: Mapping[str, Path]) -> str:
    for path in histories.values():
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
    read = {name: read_history(path) for name, path in histories.items()}
    figure = plot_curves(*read.values()) if len(read) == 1 else plot_runs(read)
    if figure is None:
        return ""
    unnamed = (
        ""
        if figure.legends or len(read) == 1
        else f"<p>A line for each of {len(read)} runs.</p>"
    )
    return f'<div class="plot">{to_svg(figure)}</div>{unnamed}'


def _sampling_stats(content: ReportContent) -> str:
    if content.sampling_stats is None or content.sampling_stats.empty:
        return ""
    return plain_table(content.sampling_stats, shares=_SHARES_OF_SEEN)


def _time(seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values())
    if total <= 0:
        return ""
    ranked = sorted(seconds.items(), key=lambda item: -item[1])
    colors = [STRUCTURE_COLORS[n % len(STRUCTURE_COLORS)] for n in range(len(ranked))]
    bars = "".join(
        f'<i style="width:{100 * spent / total:.2f}%;background:{color}" '
        f'title="{escape(part)}"></i>'
        for (part, spent), color in zip(ranked, colors, strict=True)
    )
    legend = "".join(
        f'<span><i style="background:{color}"></i>{escape(part)} '
        f"<b>{format_duration(spent)}</b> {spent / total:.0%}</span>"
        for (part, spent), color in zip(ranked, colors, strict=True)
    )
    return (
        f'<div class="bar">{bars}</div><div class="legend">{legend}</div>'
        f"<p>{format_duration(total)} in all.</p>"
    )


def _facts(facts: Mapping[str, Mapping[str, str]]) -> str:
    groups = "".join(
        f"<div><h3>{escape(heading)}</h3><dl>"
        + "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
            for name, value in entries.items()
        )
        + "</dl></div>"
        for heading, entries in facts.items()
    )
    return f'<div class="facts">{groups}</div>' if groups else ""


def _data_uri(path: Path) -> str:
    """A picture as text; large ones as JPEG, a fifth of the size to the same eye."""
    try:
        data, kind = path.read_bytes(), "png"
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such picture") from error
    if len(data) > _LARGE_PICTURE:
        from PIL import Image

        stream = io.BytesIO()
        with Image.open(io.BytesIO(data)) as picture:
            picture.convert("RGB").save(stream, "JPEG", quality=88, optimize=True)
        data, kind = stream.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _resource(name: str) -> str:
    return (files("medseg.reporting") / name).read_text(encoding="utf-8")
