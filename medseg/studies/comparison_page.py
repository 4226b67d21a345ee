"""The page of a comparison: ranks, differences, and the pictures of every run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.evaluation.metrics import metric_named
from medseg.reporting.content import NamedTable, Picture, ReportContent
from medseg.reporting.environment import describe_environment
from medseg.reporting.page import write_page
from medseg.runs.fit_report import histories_of, sampling_stats_of
from medseg.runs.time_spent import TimeSpent, time_of
from medseg.studies.comparison import CASES, VALIDATION, Comparison

if TYPE_CHECKING:
    import pandas as pd

PAGE = "report.html"


def write_comparison_page(
    out: Path, comparison: Comparison, runs: Mapping[str, Path]
) -> TimeSpent:
    """Writes ``report.html`` of a study and returns where its time went.

    Args:
        out: The study's folder.
        comparison: What it came to.
        runs: Folder of each run, by the name it is shown under.

    Raises:
        OutputError: The folder cannot be written.
    """
    spent = time_of(runs.values())
    write_page(
        out / PAGE,
        ReportContent(
            title=f"Comparison: {out.resolve().name}",
            subtitle=f"{len(runs)} runs, compared patient by patient",
            figures=_first(comparison.ranking),
            warnings=tuple(
                f"{name}: failed: {why}" for name, why in comparison.failures.items()
            ),
            tables=(
                NamedTable("Ranks", comparison.ranking),
                NamedTable(
                    "Paired differences",
                    comparison.statistics,
                    "Wilcoxon's signed-rank test over patients, corrected after Holm.",
                ),
            ),
            pictures=tuple(_mosaics(runs)),
            histories=histories_of(runs),
            sampling_stats=sampling_stats_of(runs),
            seconds=spent.seconds,
            facts={"Environment": describe_environment()},
        ),
    )
    return spent


def _mosaics(runs: Mapping[str, Path]) -> list[Picture]:
    """The worst, median and best cases of every run that was scored."""
    import pandas as pd

    found = []
    for name, folder in runs.items():
        mosaic = folder / VALIDATION / "mosaic.png"
        table = folder / VALIDATION / CASES
        if mosaic.is_file() and table.is_file():
            score = float(pd.read_csv(table)["dice"].mean())
            found.append(Picture(mosaic, name, score, f"mean Dice {score:.3f}"))
    return found


def _first(ranking: pd.DataFrame) -> dict[str, str]:
    """The variation that leads in the first metric and structure."""
    if ranking.empty:
        return {}
    first = ranking.iloc[0]  # best first
    title = metric_named(str(first["metric"])).title
    return {f"best {title} of {first['structure']}": str(first["variation"])}
