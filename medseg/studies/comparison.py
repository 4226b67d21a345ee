"""Scored runs side by side: tables in, paired statistics, a text and figures out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medseg.errors import DatasetError, MissingFileError
from medseg.evaluation.by_size import IS_BIN, scores_by_size
from medseg.evaluation.metrics import column_of, metric_named
from medseg.evaluation.ranking import rank_variations
from medseg.evaluation.statistics import compare_pairs, holm, paired_scores
from medseg.files import write_text
from medseg.reporting.comparison import draw_comparison, format_comparison
from medseg.reporting.evidence import Evidence
from medseg.studies.common_parts import (
    comparable_pairs,
    on_common_parts,
    ranked_variations,
    remarks_on_parts,
)
from medseg.tables import read_frame, write_frame
from medseg.training.logger import RunLogger

if TYPE_CHECKING:
    import pandas as pd

VALIDATION = "validation"
CASES = "cases.csv"
LESIONS = "lesions.csv"
MIN_PATIENTS = 5
"""Size bins that fewer patients have lesions in are not compared."""


@dataclass(frozen=True)
class Comparison:
    """Result of a study.

    Attributes:
        statistics: A row per metric, structure and pair of variations.
        ranking: A row per metric, structure and variation.
        failures: Runs that failed, each with its reason.
        text: The result for people.
    """

    statistics: pd.DataFrame
    ranking: pd.DataFrame
    failures: Mapping[str, str]
    text: str
    evidence: Evidence = field(default_factory=Evidence)
    """How much training stands behind it."""
    remarks: tuple[str, ...] = ()
    """What was left out, and what the rest stands on."""


def compare_runs(
    tables: Mapping[str, pd.DataFrame],
    metrics: Sequence[str],
    *,
    smaller_is_better: Collection[str] = (),
    failures: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
    evidence: Evidence | None = None,
    parts: str = "folds and seeds",
) -> Comparison:
    """Paired statistics of variations that were scored on the same cases.

    Whole structures are compared in each metric; lesions of one size, where the
    tables have them, in Dice. The p values of the two kinds are corrected apart, those
    of whole structures over all metrics.

    Args:
        tables: Scores of each variation, a row per case and structure, as
            `read_scores` gives; with the column `PART` for each fold and seed, where
            a pair is compared on the parts that both have.
        metrics: Columns to compare.
        smaller_is_better: Columns of the user's own metrics of which that is so.
        failures: Runs that are missing, to be said in the text.
        remarks: What was left out, to be said in the text.
        evidence: How much training stands behind the tables.
        parts: What the parts are, in the plural.

    Raises:
        DatasetError: There are fewer than two variations, or they have nothing in
            common, or were scored on different cases.
        SettingsError: A metric is no column of the tables.
    """
    import pandas as pd

    failures = failures or {}
    if len(tables) < 2:
        missing = "".join(f"; {name}: {why}" for name, why in failures.items())
        raise DatasetError(
            f"nothing to compare: {len(tables)} variations have finished, two or more "
            f"are needed{missing}"
        )
    if not comparable_pairs(tables):
        raise DatasetError(
            f"nothing to compare: {', '.join(tables)} share none of the {parts}; two "
            "that finished the same are needed"
        )
    first, *others = tables.values()
    shared = [str(name) for name in first if all(name in table for table in others)]
    metrics = [column_of(metric, shared) for metric in metrics]
    whole = {name: table[~_is_bin(table)] for name, table in tables.items()}
    bins = {name: table[_is_bin(table)] for name, table in tables.items()}
    found = [
        _compare(whole, metric, is_smaller_better=metric in smaller_is_better)
        for metric in metrics
    ]
    if any(len(table) for table in bins.values()):
        found.append(_compare(bins, "dice", min_patients=MIN_PATIENTS))
    families = [_corrected([rows for rows, _ in found[: len(metrics)]])]
    families += [rows for rows, _ in found[len(metrics) :]]
    statistics = pd.concat(families, ignore_index=True)
    ranking = pd.concat([processes for _, processes in found], ignore_index=True)
    evidence = evidence or Evidence()
    remarks = (*remarks, *remarks_on_parts(tables, kind=parts))
    text = format_comparison(
        statistics, ranking, failures=failures, remarks=remarks, evidence=evidence
    )
    return Comparison(statistics, ranking, failures, text, evidence, remarks)


def _corrected(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Statistics of several metrics as one table, corrected for all its questions.

    Raises:
        DatasetError: There are none.
    """
    import pandas as pd

    table = pd.concat(tables, ignore_index=True)
    if "p_value" not in table:
        raise DatasetError(
            "nothing to compare: no patient has a structure that all variations were "
            "scored on"
        )
    return table.assign(p_holm=holm(table["p_value"].tolist()))


def nothing_compared(failures: Mapping[str, str], reason: str) -> Comparison:
    """A comparison without a result, whose text says why."""
    import pandas as pd

    empty = pd.DataFrame()
    return Comparison(empty, empty, {**failures, "comparison": reason}, reason)


def _is_bin(table: pd.DataFrame) -> pd.Series:
    if IS_BIN not in table:
        return table["case_id"].isna()  # nowhere
    return table[IS_BIN].eq(True)  # noqa: FBT003 - missing counts as no


def _compare(
    tables: Mapping[str, pd.DataFrame],
    metric: str,
    *,
    is_smaller_better: bool = False,
    min_patients: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Statistics and ranking of one metric in all structures that patients have."""
    import pandas as pd

    larger = bool(metric_named(metric).larger_is_better) and not is_smaller_better
    ranked = {name: tables[name] for name in ranked_variations(tables)}
    every = _wide(on_common_parts(ranked), metric)
    every = {n: wide for n, wide in every.items() if len(wide.dropna()) >= min_patients}
    pairs: dict[str, list[pd.DataFrame]] = {name: [] for name in every}
    for two in comparable_pairs(tables):
        pair = _wide(two, metric)
        for name in pairs:
            if name in pair and len(pair[name].dropna()) >= min_patients:
                pairs[name].append(pair[name])
    rows = compare_pairs(pairs, larger_is_better=larger)
    processes = [
        rank_variations(wide, larger_is_better=larger).assign(structure=name)
        for name, wide in every.items()
    ]
    ranking = pd.concat(processes, ignore_index=True) if processes else pd.DataFrame()
    statistics = pd.DataFrame([asdict(row) for row in rows])
    return statistics.assign(metric=metric), ranking.assign(metric=metric)


def _wide(tables: Mapping[str, pd.DataFrame], metric: str) -> dict[str, pd.DataFrame]:
    """Of each structure, a column per variation and a row per patient."""
    structures = next(iter(tables.values()))["structure"].unique()
    return {
        str(name): paired_scores(tables, metric=metric, structure=name)
        for name in structures
    }


def read_scores(folder: Path, *, name: str) -> pd.DataFrame:
    """Scores of the held-out cases of a run: its structures, and lesions by size.

    Args:
        folder: Holds the tables.
        name: The run, for messages.

    Raises:
        MissingFileError: There is no table of cases.
    """
    import pandas as pd

    if not (folder / CASES).is_file():
        raise MissingFileError(
            f"{name}: no {VALIDATION}/{CASES}; the run has not finished, or held no "
            "case out"
        )
    tables = [read_frame(folder / CASES).assign(**{IS_BIN: False})]
    if (folder / LESIONS).is_file():
        lesions = read_frame(folder / LESIONS)
        if len(lesions):
            tables.append(scores_by_size(lesions))
    return pd.concat(tables, ignore_index=True)


def read_named_runs(
    runs: Sequence[tuple[str, str]], *, tracking_uri: str | None = None
) -> dict[str, pd.DataFrame]:
    """Scores of finished runs, by the name each is to be compared under.

    Args:
        runs: Name, and the run's folder or its id in MLflow. A name given several
            times stands for all of these runs together, such as the folds.
        tracking_uri: The store that ids are looked up in, as `find_tracking_uri`
            takes it.

    Raises:
        MissingFileError: A run is not there or has no scores.
        DatasetError: Two runs of one name share a case.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    for name, run in runs:
        parts.setdefault(name, []).append(scores_of_run(run, tracking_uri))
    return {name: joined_folds(name, several) for name, several in parts.items()}


def joined_folds(name: str, folds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Scores of runs that were given one name.

    Raises:
        DatasetError: Two of them share a case.
    """
    import pandas as pd

    table = pd.concat(folds, ignore_index=True)
    twice = table.duplicated(["case_id", "structure"])
    if twice.any():
        case = table["case_id"][twice].iloc[0]
        raise DatasetError(
            f"--runs {name}: case {case} was held out in two of "
            "its runs; runs under one name are its folds"
        )
    return table


def scores_of_run(run: str, tracking_uri: str | None) -> pd.DataFrame:
    """Scores of a run, by its folder or its id in MLflow.

    Raises:
        MissingFileError: It is not there or has no scores.
    """
    if Path(run).is_dir():
        return read_scores(Path(run) / VALIDATION, name=run)
    if not re.fullmatch("[0-9a-f]{32}", run):
        raise MissingFileError(
            f"{run}: no such folder of a run, and no id of MLflow either (32 "
            "hexadecimal digits)"
        )
    from medseg.tracking import fetch_artifacts, find_tracking_uri

    store = find_tracking_uri(tracking_uri)
    with TemporaryDirectory() as scratch:
        wanted = [f"{VALIDATION}/{table}" for table in (CASES, LESIONS)]
        fetch_artifacts(run, wanted, Path(scratch), tracking_uri=store)
        return read_scores(Path(scratch) / VALIDATION, name=f"MLflow run {run}")


def log_comparison(out: Path, logger: RunLogger) -> None:
    """Keeps what `write_comparison` wrote as artifacts of a tracked run."""
    for name in ("statistics.csv", "ranking.csv", "summary.md"):
        logger.log_artifact(out / name)
    logger.log_artifact(out / "figures", folder="figures")


def write_comparison(out: Path, comparison: Comparison) -> None:
    """Writes tables, summary and figures.

    Raises:
        OutputError: The folder cannot be written.
    """
    for name, table in (
        ("statistics.csv", comparison.statistics),
        ("ranking.csv", comparison.ranking),
    ):
        write_frame(out / name, table)
    write_text(out / "summary.md", comparison.text)
    for metric in comparison.statistics["metric"].unique():
        draw_comparison(
            out / "figures" / f"{metric}.png",
            comparison.statistics[comparison.statistics["metric"] == metric],
            comparison.ranking[comparison.ranking["metric"] == metric],
        )
