"""A study for people: who is first, by how much, and whether that would hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.evaluation.metrics import metric_named
from medseg.reporting.palette import ALARM, PAPER_FAINT, PAPER_INK, color_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SIGNIFICANT = 0.05
"""Corrected p value below which a difference is called one."""


def format_comparison(
    statistics: pd.DataFrame,
    ranking: pd.DataFrame,
    *,
    failures: Mapping[str, str],
    remarks: Sequence[str] = (),
) -> str:
    """The result of a study as Markdown.

    Args:
        statistics: A row per metric, structure and pair, fields of
            `PairedComparison`.
        ranking: A row per metric, structure and variation, as `rank_variations`
            gives.
        failures: Runs that failed, each with its reason.
        remarks: What was left out of the comparison.
    """
    lines = ["# Comparison", ""]
    for (metric, structure), processes in ranking.groupby(
        ["metric", "structure"], sort=False
    ):
        chosen = (statistics["metric"] == metric) & (
            statistics["structure"] == structure
        )
        lines += _section(str(metric), str(structure), processes, statistics[chosen])
    if failures:
        lines += ["## Runs that failed", ""]
        lines += [f"- {name}: {reason}" for name, reason in failures.items()]
        lines += ["", *remarks]
        lines += ["Variations are only compared on the same cases and seeds.", ""]
    return "\n".join(lines)


def _section(
    metric: str, structure: str, processes: pd.DataFrame, pairs: pd.DataFrame
) -> list[str]:
    title = metric_named(metric).title
    lines = [
        f"## {structure}: {title}",
        "",
        "| rank | variation | mean | rank on resampled patients | first |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['rank']} | {row['variation']} | {row['mean']:.4f} | "
        f"{row['rank_low']} to {row['rank_high']} | {row['share_first']:.0%} |"
        for row in _rows(processes)
    ]
    lines += [
        "",
        "| pair | difference | p (Holm) | effect | win/tie/loss | n |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {_pair(row)} | {row['mean_difference']:+.4f} "
        f"[{row['ci_low']:+.4f}, {row['ci_high']:+.4f}] | {row['p_holm']:.3g} | "
        f"{row['rank_biserial']:+.2f} | "
        f"{row['wins']}/{row['ties']}/{row['losses']} | {row['n']} |"
        for row in _rows(pairs)
    ]
    return [*lines, "", _verdict(processes, pairs), ""]


def _verdict(processes: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """One sentence that claims no more than the numbers do."""
    best = str(processes.iloc[0]["variation"])
    beaten = [
        str(row["second"] if row["first"] == best else row["first"])
        for row in _rows(pairs)
        if best in (row["first"], row["second"]) and row["p_holm"] < SIGNIFICANT
    ]
    others = len(processes) - 1
    if processes["mean"].nunique() == 1:
        return "All variations have the same mean."
    if not beaten:
        return (
            f"{best} has the best mean, but differs from none of the others by more "
            f"than chance explains (corrected p < {SIGNIFICANT})."
        )
    return (
        f"{best} has the best mean and differs from {', '.join(beaten)} by more than "
        f"chance explains ({len(beaten)} of {others}, corrected p < {SIGNIFICANT})."
    )


def draw_comparison(
    path: Path, statistics: pd.DataFrame, ranking: pd.DataFrame
) -> None:
    """Writes a PNG: paired differences with intervals, and the ranking, per structure.

    Args:
        path: The PNG file.
        statistics: Rows of one metric.
        ranking: Rows of the same metric.

    Raises:
        OutputError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from medseg.reporting.figures import save_figure

    structures = list(ranking["structure"].unique())
    names = sorted(ranking["variation"].unique())
    colors = {name: color_of(number) for number, name in enumerate(names, start=1)}
    num_pairs = len(statistics) // max(len(structures), 1)
    height = len(structures) * (1.1 + 0.26 * max(num_pairs, 3))
    figure = Figure(figsize=(11, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(structures), 2, squeeze=False, width_ratios=(3, 2))
    for row, structure in zip(axes, structures, strict=True):
        _draw_differences(row[0], statistics[statistics["structure"] == structure])
        _draw_ranks(row[1], ranking[ranking["structure"] == structure], colors)
        row[0].set_title(str(structure), loc="left", color=PAPER_INK, fontsize=10)
    save_figure(figure, path)


def _draw_differences(axes: Axes, pairs: pd.DataFrame) -> None:
    """A line per pair: mean difference with its interval, coloured where it holds."""
    rows = _rows(pairs)[::-1]
    for height, row in enumerate(rows):
        color = ALARM if row["p_holm"] < SIGNIFICANT else PAPER_FAINT
        axes.plot([row["ci_low"], row["ci_high"]], [height] * 2, color=color, lw=2)
        axes.plot([row["mean_difference"]], [height], "o", color=color, ms=5)
    axes.set_yticks(range(len(rows)), [_pair(row) for row in rows], fontsize=8)
    axes.axvline(0, color=PAPER_INK, lw=0.8)
    title = metric_named(str(pairs.iloc[0]["metric"])).title
    axes.set_xlabel(
        f"paired difference in {title}, 95 % interval over patients; red: Holm p < "
        f"{SIGNIFICANT}",
        fontsize=8,
    )
    _quiet(axes)


def _draw_ranks(axes: Axes, processes: pd.DataFrame, colors: Mapping[str, str]) -> None:
    """Rank of each variation, with the range it takes on resampled patients."""
    rows = _rows(processes)[::-1]
    for height, row in enumerate(rows):
        color = colors[row["variation"]]
        axes.plot([row["rank_low"], row["rank_high"]], [height] * 2, color=color, lw=5)
        axes.plot([row["rank"]], [height], "o", color=PAPER_INK, ms=5)
    names = [f"{row['variation']}  {row['mean']:.3f}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_xticks(range(1, len(processes) + 1))
    axes.set_xlim(0.5, len(processes) + 0.5)
    axes.set_xlabel("rank, and its range on resampled patients", fontsize=8)
    _quiet(axes)


def _rows(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return table.to_dict(orient="records")


def _pair(row: Mapping[Hashable, Any]) -> str:
    return f"{row['first']} − {row['second']}"


def _quiet(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=PAPER_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.margins(y=0.15)
