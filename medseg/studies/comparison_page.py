"""The page of a comparison: what it found, on what that rests, and every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.evaluation.metrics import metric_named
from medseg.progress import Progress, Silent
from medseg.reporting.comparison import (
    conclusions,
    differences_table,
    ranks_table,
)
from medseg.reporting.comparison_charts import comparison_charts
from medseg.reporting.content import NamedTable, ReportContent
from medseg.reporting.environment import describe_environment
from medseg.reporting.page import shown_picture, write_page
from medseg.runs.fit_report import histories_of, sampling_stats_of
from medseg.runs.time_spent import TimeSpent, time_of
from medseg.studies.comparison import Comparison
from medseg.studies.hard_cases import draw_hard_cases
from medseg.studies.run_facts import RunFacts, table_of_runs

if TYPE_CHECKING:
    import pandas as pd

PAGE = "report.html"
SECTIONS = {
    "conclusion": "Conclusion",
    "differences": "Differences",
    "hard": "Hard cases side by side",
    "runs": "Runs",
}
"""Headings of what stands before a report's usual sections, in their order."""


def write_comparison_page(
    out: Path,
    comparison: Comparison,
    runs: Sequence[RunFacts],
    tables: Mapping[str, pd.DataFrame],
    *,
    progress: Progress | None = None,
) -> TimeSpent:
    """Writes ``report.html`` of a comparison and returns where its time went.

    Args:
        out: The comparison's folder.
        comparison: What it came to.
        runs: Every run, also those that failed.
        tables: Scores of each variation that was compared.
        progress: Warned of pictures that cannot be drawn.

    Raises:
        OutputError: The folder cannot be written.
    """
    folders = {run.name: run.folder for run in runs if run.folder is not None}
    spent = time_of(folders.values())
    ranking, statistics = comparison.ranking, comparison.statistics
    metrics = list(dict.fromkeys(ranking["metric"])) if len(ranking) else []
    pictures = draw_hard_cases(out, tables, runs, progress=progress or Silent())
    lead = {
        "conclusions": conclusions(statistics, ranking, comparison.evidence),
        "charts": comparison_charts(statistics, ranking),
        "hard_cases": [shown_picture(picture) for picture in pictures],
        "runs": table_of_runs(runs, out, metrics),
        "metrics": metrics,
    }
    shown = {"conclusion": "conclusions", "differences": "charts", "hard": "hard_cases"}
    there = {n: s for n, s in SECTIONS.items() if lead[shown.get(n, n)]}
    write_page(
        out / PAGE,
        ReportContent(
            title=f"Comparison: {out.resolve().name}",
            subtitle=f"{len(runs)} runs, compared patient by patient",
            figures=_first(ranking),
            warnings=(
                *(f"{n}: failed: {why}" for n, why in comparison.failures.items()),
                *comparison.remarks,
            ),
            tables=_tables(comparison),
            histories=histories_of(folders),
            sampling_stats=sampling_stats_of(folders),
            seconds=spent.seconds,
            facts={"Environment": describe_environment()},
        ),
        template="comparison.html",
        first=there,
        **lead,
    )
    return spent


def _tables(comparison: Comparison) -> tuple[NamedTable, ...]:
    """Ranks and paired differences of each metric and structure, for people."""
    found = []
    if comparison.ranking.empty:
        return ()
    for (metric, structure), ranks in comparison.ranking.groupby(
        ["metric", "structure"], sort=False
    ):
        pairs = comparison.statistics[
            (comparison.statistics["metric"] == metric)
            & (comparison.statistics["structure"] == structure)
        ]
        title = f"{structure}: {metric_named(str(metric)).title}"
        found.append(NamedTable(f"{title}, ranks", ranks_table(ranks)))
        note = "Wilcoxon's signed-rank test over patients, corrected after Holm."
        found.append(
            NamedTable(f"{title}, paired differences", differences_table(pairs), note)
        )
    return tuple(found)


def _first(ranking: pd.DataFrame) -> dict[str, str]:
    """The variation that leads in the first metric and structure."""
    if ranking.empty:
        return {}
    first = ranking.iloc[0]  # best first
    title = metric_named(str(first["metric"])).title
    return {f"best {title} of {first['structure']}": str(first["variation"])}
