"""Plots on white: training curves and the distribution of scores."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from medseg.evaluation.metrics import metric_named
from medseg.reporting.palette import (
    ALARM,
    PAPER_FAINT,
    PAPER_INK,
    STRUCTURE_COLORS,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DISTRIBUTIONS = ("dice", "nsd", "hd95_mm")
"""Metrics whose distribution is shown."""
_PANEL = (4.6, 3.0)
_MOST_VECTOR_POINTS = 3000
_MOST_NAMED = 14
"""Runs that a legend has room for."""
_READABLE = [c for n, c in enumerate(STRUCTURE_COLORS) if n not in (4, 7, 8, 9, 10)]


History: TypeAlias = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Steps and values of each metric of a run."""


def read_history(path: Path) -> History:
    """Steps and values of each metric of a run's ``metrics.csv``."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row.get("value"):
                found[row["metric"]].append((float(row["step"]), float(row["value"])))
    columns = {name: np.array(points).T for name, points in found.items()}
    return {name: (steps, values) for name, (steps, values) in columns.items()}


def plot_curves(history: History) -> Figure | None:
    """Loss, validation Dice and learning rate against steps; None without any.

    Args:
        history: Steps and values of each metric; ``dice/liver`` and the like share a
            panel.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in history:
        group = name.split("/")[0]
        if group.startswith(("loss", "dice", "learning_rate")):
            groups["loss" if group.startswith("loss") else group].append(name)
    wanted = [group for group in ("loss", "dice", "learning_rate") if groups[group]]
    if not wanted:
        return None
    figure = _paper_figure(len(wanted))
    for number, group in enumerate(wanted):
        axes = figure.add_subplot(1, len(wanted), number + 1)
        for position, name in enumerate(groups[group]):
            _draw_curve(axes, name, *history[name], position=position)
        style_axes(
            axes, title={"learning_rate": "Learning rate"}.get(group, group.title())
        )
        axes.set_xlabel("step")
        if group == "learning_rate":
            axes.yaxis.set_major_formatter("{x:g}")
        if len(groups[group]) > 1:
            axes.legend(frameon=False, fontsize=10, labelcolor=PAPER_INK)
    return figure


def curve_groups(history: History) -> list[History]:
    """What `plot_curves` shows, a panel's metrics at a time."""
    groups = ("loss", "dice", "learning_rate")
    parts = [{n: h for n, h in history.items() if n.startswith(g)} for g in groups]
    return [part for part in parts if part]


def plot_runs(histories: Mapping[str, History]) -> Figure | None:
    """Loss and mean validation Dice of several runs; None without any.

    Above 14 runs their names are left out.

    Args:
        histories: What `plot_curves` takes, of each run by its name.
    """
    wanted = {"loss": "Loss", "dice/mean": "Mean Dice"}
    shown = [m for m in wanted if any(m in history for history in histories.values())]
    if not shown:
        return None
    figure = _paper_figure(len(shown))
    lines: dict[str, Line2D] = {}
    for number, metric in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        for position, (run, history) in enumerate(histories.items()):
            if metric in history:
                line = _draw_curve(axes, run, *history[metric], position=position)
                lines[run] = line
        style_axes(axes, title=wanted[metric])
        axes.set_xlabel("step")
    if len(histories) <= _MOST_NAMED:
        figure.legend(
            [lines[run] for run in histories if run in lines],
            [run for run in histories if run in lines],
            frameon=False,
            fontsize=10,
            labelcolor=PAPER_INK,
            loc="outside right center",
        )
    return figure


def plot_distributions(
    table: pd.DataFrame, *, metrics: Sequence[str] = DISTRIBUTIONS
) -> Figure | None:
    """Every case as a dot, box of quartiles, mean; what was missed in another colour.

    Args:
        table: A row per case and structure.
        metrics: Columns to show; those without values are passed over.

    Returns:
        A panel per metric, or None where no metric has a value.
    """
    shown = [name for name in metrics if name in table and table[name].notna().any()]
    if not shown:
        return None
    structures = list(dict.fromkeys(table["structure"]))
    figure = _paper_figure(len(shown), height=0.9 + 0.42 * max(3, len(structures)))
    for number, name in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        for row, structure in enumerate(structures):
            part = table[table["structure"] == structure]
            _draw_distribution(axes, part, name, row)
        metric = metric_named(name)
        style_axes(axes, title=metric.title + f" [{metric.unit}]" * bool(metric.unit))
        axes.set_yticks(range(len(structures)), structures if number == 0 else [])
        axes.set_ylim(len(structures) - 0.5, -0.5)
        if metric.bounded:
            axes.set_xlim(right=1.015)
        axes.grid(axis="y", visible=False)
    return figure


def to_svg(figure: Figure) -> str:
    """A figure as SVG text whose words stay words, for a page."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medseg"}):
        figure.savefig(stream, format="svg", transparent=True, metadata=_NO_METADATA)
    text = stream.getvalue()
    return text[text.index("<svg") :]


_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def _draw_curve(
    axes: Axes, name: str, steps: np.ndarray, values: np.ndarray, *, position: int
) -> Line2D:
    label = name.split("/", 1)[-1]
    heavy = label == "mean"
    color, style = _line_color(position), _line_style(position)
    (line,) = axes.plot(
        steps,
        values,
        color=PAPER_INK if heavy else color,
        linestyle=style,
        linewidth=1.8 if heavy else 1.3,
        marker="o" if len(steps) < 30 else None,
        markersize=3,
        label=label,
        zorder=3 if heavy else 2,
    )
    return line


def _draw_distribution(axes: Axes, part: pd.DataFrame, name: str, row: int) -> None:
    values = part[name].to_numpy(dtype=float)
    known = ~np.isnan(values)
    bad = part["outcome"].isin(["missed", "invented"]).to_numpy()[known]
    values = values[known]
    if not len(values):
        return
    color = _line_color(row)
    spread = np.random.default_rng(row).uniform(-0.26, 0.26, len(values))
    axes.scatter(
        values[~bad],
        row + spread[~bad],
        s=12,
        color=color,
        alpha=0.65,
        linewidths=0,
        rasterized=len(values) > _MOST_VECTOR_POINTS,
    )
    axes.scatter(values[bad], row + spread[bad], color=ALARM, marker="X", s=34, lw=0)
    axes.boxplot(
        values,
        positions=[row],
        orientation="horizontal",
        widths=0.62,
        showfliers=False,
        boxprops={"color": PAPER_INK, "linewidth": 0.9},
        whiskerprops={"color": PAPER_INK, "linewidth": 0.9},
        capprops={"color": PAPER_INK, "linewidth": 0.9},
        medianprops={"color": PAPER_INK, "linewidth": 1.6},
        manage_ticks=False,
    )
    axes.scatter(
        [values.mean()], [row], marker="D", s=20, color="white", edgecolors=PAPER_INK,
        linewidths=1.0, zorder=5,
    )  # fmt: skip


def _line_color(position: int) -> str:
    """Palette colours that are dark enough on white."""
    return _READABLE[position % len(_READABLE)]


def _line_style(position: int) -> str:
    """Dashed where the colours have begun again."""
    return "-" if position // len(_READABLE) % 2 == 0 else "--"


def _paper_figure(panels: int, *, height: float = _PANEL[1]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PANEL[0] * panels, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, *, title: str) -> None:
    """A bold title on the left, a faint grid, no frame: as all plots of pages."""
    axes.set_title(title, loc="left", fontsize=11.5, color=PAPER_INK, fontweight="bold")
    axes.grid(visible=True, color="#E3E7EC", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=PAPER_FAINT, labelsize=10, length=0)
    axes.xaxis.label.set(color=PAPER_FAINT, fontsize=10)
    for label in axes.get_yticklabels():
        label.set_color(PAPER_INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color("#C9D0D8")
