"""The differences and ranks of a comparison, as rows of its page."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.evaluation.metrics import metric_named
from medseg.reporting.comparison import (
    as_rows,
    difference_text,
    is_difference,
    pair_name,
    rows_of,
    sections_of,
)
from medseg.reporting.intervals import Interval, IntervalChart, interval_chart

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ComparisonCharts:
    """The differences and the ranks of a metric and structure, as rows of a page."""

    title: str
    differences: IntervalChart
    ranks: IntervalChart


def comparison_charts(
    statistics: pd.DataFrame, ranking: pd.DataFrame
) -> list[ComparisonCharts]:
    """Charts of each metric and structure, in the order of the ranking.

    Args:
        statistics: A row per metric, structure and pair.
        ranking: A row per metric, structure and variation.
    """
    found = []
    for (metric, structure), processes in sections_of(ranking):
        title = metric_named(metric).title
        found.append(
            ComparisonCharts(
                f"{structure}: {title}",
                interval_chart(
                    [
                        _as_interval(r)
                        for r in as_rows(rows_of(statistics, metric, structure))
                    ],
                    caption=f"difference in {title}, 95 % interval over patients",
                    line_at=0.0,
                ),
                interval_chart(
                    [_rank_interval(row) for row in as_rows(processes)],
                    caption="rank, and its range on resampled patients",
                    whole_numbers=True,
                ),
            )
        )
    return found


def _as_interval(row: Mapping[Hashable, Any]) -> Interval:
    return Interval(
        pair_name(row),
        row["mean_difference"],
        row["ci_low"],
        row["ci_high"],
        difference_text(row),
        is_marked=is_difference(row),
    )


def _rank_interval(row: Mapping[Hashable, Any]) -> Interval:
    low, high = int(row["rank_low"]), int(row["rank_high"])
    span = "" if low == high == row["rank"] else f" ({low} to {high})"
    text = f"{row['rank']}{span}, mean {row['mean']:.4f}"
    return Interval(str(row["variation"]), row["rank"], low, high, text)
