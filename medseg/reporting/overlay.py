"""One case as a picture: scan, reference and prediction in three planes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.labels import LabelScheme
from medseg.reporting.drawing import draw_panel
from medseg.reporting.figures import (
    add_cells,
    dark_figure,
    draw_legend,
    legend_height,
    save_figure,
)
from medseg.reporting.palette import FAINT, INK
from medseg.reporting.panels import Panel, cut_panels
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 3.4
_GAP = 0.08
_TOP = 0.62


@dataclass(frozen=True)
class _View:
    """A panel and how it is drawn."""

    panel: Panel
    labels: bool
    frame: bool = False


def write_overlay(
    path: Path,
    volume: Volume,
    *,
    prediction: LabelMap,
    reference: LabelMap | None = None,
    scheme: LabelScheme,
    title: str,
    subtitle: str = "",
) -> None:
    """Writes a PNG of a scan with prediction and reference in three planes.

    Args:
        path: The PNG file.
        volume: The scan.
        prediction: See `draw_overlay`.
        reference: Likewise.
        scheme: Likewise.
        title: Likewise.
        subtitle: Likewise.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
        OutputError: The file cannot be written.
    """
    figure = draw_overlay(
        volume,
        prediction=prediction,
        reference=reference,
        scheme=scheme,
        title=title,
        subtitle=subtitle,
    )
    save_figure(figure, path)


def draw_overlay(
    volume: Volume,
    *,
    prediction: LabelMap,
    reference: LabelMap | None = None,
    scheme: LabelScheme,
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """A figure of a scan with prediction and reference in three planes.

    Each plane shows the slice where the two differ most. Where the structures are
    small, a closer look follows, without and with labels, at the same place.

    Args:
        volume: The scan.
        prediction: Label map on the scan's grid.
        reference: Label map to compare with, if there is one.
        scheme: What the values mean.
        title: Case and score; never a patient's name.
        subtitle: A second, smaller line.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
    """
    panels = cut_panels(
        volume,
        prediction=prediction,
        reference=reference,
        scheme=scheme,
    )
    views = _views(panels)
    grid = views
    if len(panels) == 1:  # a single plane fills a row with its views
        grid = [[view for row in views for view in row]]
    columns = len(grid[0])
    heights = [_row_height(row) for row in grid]
    width = _CELL * columns + _GAP * (columns + 1)
    bottom = legend_height(scheme, width=width) + 0.2
    height = _TOP + sum(heights) + _GAP * len(heights) + bottom
    figure = dark_figure(width, height)
    cells = add_cells(figure, heights, columns, top=_TOP, gap=_GAP)
    for row, boxes in zip(grid, cells, strict=True):
        for view, box in zip(row, boxes, strict=True):
            draw_panel(
                figure.add_axes(box),
                view.panel,
                objects=scheme.instances,
                labels=view.labels,
                frame=view.frame,
                line_width=1.0 if view.frame else 1.5,
            )
    _write_words(figure, panels, title, subtitle)
    with_reference = reference is not None
    draw_legend(figure, scheme, with_reference=with_reference, y=bottom / 2 + 0.08)
    return figure


def _views(panels: list[Panel]) -> list[list[_View]]:
    """The whole slices, then close ones; or without and with labels."""
    if any(panel.window for panel in panels):
        close = [panel.closer() for panel in panels]
        return [
            [_View(panel, labels=True, frame=True) for panel in panels],
            [_View(panel, labels=False) for panel in close],
            [_View(panel, labels=True) for panel in close],
        ]
    return [[_View(panel, labels=shown) for panel in panels] for shown in (False, True)]


def _row_height(views: list[_View]) -> float:
    """Inches for a row: as high as its highest panel, within reason."""
    tallest = max(view.panel.relative_height for view in views)
    return _CELL * min(max(tallest, 0.35), 1.15)


def _write_words(
    figure: Figure, panels: list[Panel], title: str, subtitle: str
) -> None:
    height = figure.get_figheight()
    left = _GAP / figure.get_figwidth()
    figure.text(
        left, 1 - 0.24 / height, title, color=INK, fontsize=12, fontweight="bold",
        va="center",
    )  # fmt: skip
    shown = [*(panel.caption for panel in panels), panels[0].channel]
    places = ", ".join(part for part in shown if part)
    view = "" if not panels[0].letters else "; radiological view, patient's right left"
    words = " · ".join(part for part in (subtitle, f"{places}{view}") if part)
    figure.text(left, 1 - 0.46 / height, words, color=FAINT, fontsize=8.5, va="center")
