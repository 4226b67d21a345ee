"""Figures without matplotlib's global state, saved whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.files import atomic_write
from medseg.labels import LabelScheme
from medseg.reporting.drawing import OBJECT_FILL, OBJECT_LINE
from medseg.reporting.palette import FAINT, GROUND, INK, color_of, colors_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

DPI = 130


def _is_not_about_a_home(record: logging.LogRecord) -> bool:
    """Lets through all but matplotlib's notes on a home folder that it cannot write."""
    text = record.getMessage()
    return "MPLCONFIGDIR" not in text and not text.startswith("mkdir -p failed")


logging.getLogger("matplotlib").addFilter(_is_not_about_a_home)


def dark_figure(width: float, height: float) -> Figure:
    """An empty figure on the dark ground; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=GROUND)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(figure_png(figure))


def figure_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def draw_legend(
    figure: Figure, scheme: LabelScheme, *, with_reference: bool, y: float
) -> None:
    """The colours of structures, and what fill and line mean, at a height in inches."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = []
    if scheme.instances:
        fill, line = color_of(OBJECT_FILL), color_of(OBJECT_LINE)
    else:
        fill, line = FAINT, FAINT
        colors = colors_of(scheme).items()
        handles += [Patch(color=color, label=name) for name, color in colors]
    if with_reference:
        handles.append(Patch(color=fill, alpha=0.5, label="fill: reference"))
    handles.append(Line2D([], [], color=line, label="line: prediction"))
    figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(0.5, y / figure.get_figheight()),
        ncols=min(len(handles), max(2, int(figure.get_figwidth() / 1.5))),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handlelength=1.4,
    )


def legend_height(scheme: LabelScheme, *, width: float) -> float:
    """Inches that the legend needs."""
    entries = 2 + (0 if scheme.instances else len(scheme.structures))
    per_row = max(2, int(width / 1.5))
    return 0.22 * -(-entries // per_row) + 0.16


def add_cells(
    figure: Figure, heights: Sequence[float], columns: int, *, top: float, gap: float
) -> list[list[tuple[float, float, float, float]]]:
    """Boxes of a grid of cells, in shares of the figure, row by row from the top.

    Args:
        figure: The figure.
        heights: Height of each row, in inches.
        columns: Number of columns, of equal width.
        top: Inches left free above.
        gap: Inches between cells and at the sides.
    """
    width, height = figure.get_size_inches()
    cell = (width - gap * (columns + 1)) / columns
    rows = []
    y = height - top
    for row in heights:
        y -= row
        rows.append(
            [
                (
                    (gap + column * (cell + gap)) / width,
                    y / height,
                    cell / width,
                    row / height,
                )
                for column in range(columns)
            ]
        )
        y -= gap
    return rows
