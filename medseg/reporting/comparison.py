"""A study for people: who is first, by how much, and whether that would hold."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.evaluation.metrics import metric_named
from medseg.reporting.evidence import Evidence
from medseg.reporting.palette import ALARM, PAPER_FAINT, PAPER_INK, color_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST_P = 0.001
"""Smaller p values are said to be smaller."""

SIGNIFICANT = 0.05
"""Corrected p value below which a difference is called one."""


@dataclass(frozen=True)
class Conclusion:
    """What a comparison says of one metric and structure."""

    metric: str
    structure: str
    sentence: str
    """Claims no more than the numbers do."""
    evidence: str
    """What it rests on."""

    @property
    def title(self) -> str:
        """Structure and metric, as a heading."""
        return f"{self.structure}: {metric_named(self.metric).title}"


def conclusions(
    statistics: pd.DataFrame, ranking: pd.DataFrame, evidence: Evidence
) -> list[Conclusion]:
    """A conclusion for each metric and structure, in the order of the ranking.

    Args:
        statistics: A row per metric, structure and pair, fields of
            `PairedComparison`.
        ranking: A row per metric, structure and variation, as `rank_variations`
            gives.
        evidence: What the runs are worth.
    """
    found = []
    for (metric, structure), processes in sections_of(ranking):
        pairs = rows_of(statistics, metric, structure)
        patients = [int(n) for n in pairs["n"]] if len(pairs) else [0]
        found.append(
            Conclusion(
                metric,
                structure,
                _verdict(processes, pairs, evidence),
                evidence.in_words(
                    num_patients=max(patients), fewest_patients=min(patients)
                ),
            )
        )
    return found


def format_comparison(
    statistics: pd.DataFrame,
    ranking: pd.DataFrame,
    *,
    failures: Mapping[str, str],
    remarks: Sequence[str] = (),
    evidence: Evidence | None = None,
) -> str:
    """The result of a study as Markdown, conclusions first.

    Args:
        statistics: A row per metric, structure and pair, fields of
            `PairedComparison`.
        ranking: A row per metric, structure and variation, as `rank_variations`
            gives.
        failures: Runs that failed, each with its reason.
        remarks: What was left out of the comparison.
        evidence: What the runs are worth; unknown where it is left out.
    """
    lines = ["# Comparison", ""]
    for found in conclusions(statistics, ranking, evidence or Evidence()):
        pairs = rows_of(statistics, found.metric, found.structure)
        processes = rows_of(ranking, found.metric, found.structure)
        lines += [f"## {found.title}", "", found.sentence, found.evidence, ""]
        lines += [*_markdown(ranks_table(processes)), ""]
        lines += [*_markdown(differences_table(pairs)), ""]
    if failures:
        lines += ["## Runs that failed", ""]
        lines += [f"- {name}: {reason}" for name, reason in failures.items()]
        lines += [""]
    if remarks:
        lines += ["## What that leaves", "", *(f"- {said}" for said in remarks), ""]
    return "\n".join(lines)


def ranks_table(processes: pd.DataFrame) -> pd.DataFrame:
    """Ranks for people: a row per variation, best first."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "rank": str(row["rank"]),
                "variation": str(row["variation"]),
                "mean": f"{row['mean']:.4f}",
                "rank on resampled patients": f"{row['rank_low']} to "
                f"{row['rank_high']}",
                "first": f"{row['share_first']:.0%}",
            }
            for row in as_rows(processes)
        ]
    )


def differences_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Paired differences for people; of one patient there is no interval."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "pair": pair_name(row),
                "difference": difference_text(row),
                "p (Holm)": format_p(row["p_holm"] if row["n"] > 1 else math.nan),
                "effect": f"{row['rank_biserial']:+.2f}" if row["n"] > 1 else "–",
                "win/tie/loss": f"{row['wins']}/{row['ties']}/{row['losses']}",
                "n": str(row["n"]),
            }
            for row in as_rows(pairs)
        ]
    )


def format_p(value: float) -> str:
    """A p value as papers print it: ``< 0.001`` rather than 0.000."""
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < SMALLEST_P else f"{value:.3f}"


def difference_text(row: Mapping[Hashable, Any]) -> str:
    """Mean difference of a pair with its interval, where there is one."""
    if not row["n"]:
        return "no patient has a value in both"
    mean = f"{row['mean_difference']:+.4f}"
    if row["n"] == 1 or math.isnan(row["ci_low"]):
        return f"{mean} (one patient allows no interval)"
    return f"{mean} [{row['ci_low']:+.4f}, {row['ci_high']:+.4f}]"


def _markdown(table: pd.DataFrame) -> list[str]:
    head = [str(name) for name in table.columns]
    rows = [f"| {' | '.join(cells)} |" for cells in table.to_numpy().tolist()]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows]


def sections_of(
    ranking: pd.DataFrame,
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Metric and structure with the rows of each, in the order of the ranking."""
    if ranking.empty:
        return
    for (metric, structure), processes in ranking.groupby(
        ["metric", "structure"], sort=False
    ):
        yield (str(metric), str(structure)), processes


def rows_of(table: pd.DataFrame, metric: str, structure: str) -> pd.DataFrame:
    """Rows of one metric and structure."""
    if table.empty:
        return table
    chosen = (table["metric"] == metric) & (table["structure"] == structure)
    return table[chosen]


def _verdict(processes: pd.DataFrame, pairs: pd.DataFrame, evidence: Evidence) -> str:
    """One sentence that claims no more than the numbers do."""
    best = str(processes.iloc[0]["variation"])
    patients = int(pairs["n"].max()) if len(pairs) else 0
    if processes["mean"].nunique() == 1:
        return "All variations have the same mean."
    if patients < 2:
        return (
            f"{best} has the best value on the only patient that was held out. One "
            "patient allows no interval and no conclusion."
        )
    beaten = [
        str(row["second"] if row["first"] == best else row["first"])
        for row in as_rows(pairs)
        if best in (row["first"], row["second"]) and row["p_holm"] < SIGNIFICANT
    ]
    if not beaten:
        return (
            f"{best} has the best mean, but differs from none of the others by more "
            f"than chance explains (corrected p < {SIGNIFICANT})."
        )
    counted = f"{len(beaten)} of {len(processes) - 1}, corrected p < {SIGNIFICANT}"
    first = f"{best} has the best mean and differs from {', '.join(beaten)}"
    if evidence.is_enough:
        return f"{first} by more than chance explains ({counted})."
    return (
        f"{first} on these patients ({counted}). Whether runs of the same kind would "
        "differ again is open."
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
    from medseg.reporting.figures import save_figure

    save_figure(comparison_figure(statistics, ranking), path)


def comparison_figure(statistics: pd.DataFrame, ranking: pd.DataFrame) -> Figure:
    """Paired differences with intervals, and the ranking, a row for each structure.

    Args:
        statistics: Rows of one metric.
        ranking: Rows of the same metric.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
    return figure


def is_difference(row: Mapping[Hashable, Any]) -> bool:
    """Whether the corrected test calls a pair different."""
    return bool(row["n"] > 1 and row["p_holm"] < SIGNIFICANT)


def _draw_differences(axes: Axes, pairs: pd.DataFrame) -> None:
    """A line per pair: mean difference with its interval, coloured where it holds."""
    rows = as_rows(pairs)[::-1]
    for height, row in enumerate(rows):
        color = ALARM if is_difference(row) else PAPER_FAINT
        if not math.isnan(row["ci_low"]):
            axes.plot([row["ci_low"], row["ci_high"]], [height] * 2, color=color, lw=2)
        axes.plot([row["mean_difference"]], [height], "o", color=color, ms=5)
    axes.set_yticks(range(len(rows)), [pair_name(row) for row in rows], fontsize=8)
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
    rows = as_rows(processes)[::-1]
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


def as_rows(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Rows as dictionaries."""
    return table.to_dict(orient="records")


def pair_name(row: Mapping[Hashable, Any]) -> str:
    """A pair, as its difference is taken."""
    return f"{row['first']} − {row['second']}"


def _quiet(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=PAPER_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.margins(y=0.15)
