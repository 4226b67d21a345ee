"""Scores of a study's finished runs, of those variations that can be compared fairly.

A pair of variations is only compared on the same cases and the same seeds. Where a run
failed, its variation is left out; where fewer than two are complete, all variations are
compared on the folds and seeds that every one of them finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.evaluation.by_size import IS_BIN
from medseg.studies.comparison import CASES, VALIDATION, read_scores
from medseg.studies.study import StudyRun

if TYPE_CHECKING:
    import pandas as pd


def study_tables(
    runs: Sequence[StudyRun], out: Path
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """Scores of each variation over its folds, averaged over seeds.

    Args:
        runs: All runs of the study.
        out: The study's folder.

    Returns:
        A table by variation, and what was left out, in words.

    Raises:
        MissingFileError: A table went away meanwhile.
    """
    chosen, remarks = comparable_runs(
        runs, lambda run: (out / "runs" / run.name / VALIDATION / CASES).is_file()
    )
    parts: dict[str, list[pd.DataFrame]] = {}
    for run in chosen:
        table = read_scores(out / "runs" / run.name / VALIDATION, name=run.name)
        parts.setdefault(run.variation, []).append(table)
    return {name: _averaged(tables) for name, tables in parts.items()}, remarks


def comparable_runs(
    runs: Sequence[StudyRun], is_scored: Callable[[StudyRun], bool]
) -> tuple[list[StudyRun], tuple[str, ...]]:
    """The runs whose variations can be compared, and what was left out, in words.

    Args:
        runs: All runs of the study.
        is_scored: Whether a run's held-out cases were scored.
    """
    missing = [run for run in runs if not is_scored(run)]
    if not missing:
        return list(runs), ()
    incomplete = dict.fromkeys(run.variation for run in missing)
    complete = [run for run in runs if run.variation not in incomplete]
    if len({run.variation for run in complete}) > 1:
        return complete, (
            f"left out, since runs of theirs are missing: {', '.join(incomplete)}",
        )
    gaps = {(run.fold, run.seed) for run in missing}
    common = [run for run in runs if (run.fold, run.seed) not in gaps]
    places = dict.fromkeys(f"fold {run.fold} seed {run.seed}" for run in common)
    if not common:
        return complete, ()
    return common, (
        f"fewer than two variations are complete: all are compared on {len(places)} of "
        f"{len({(run.fold, run.seed) for run in runs})} parts of the study alone "
        f"({', '.join(places)}); missing: {', '.join(run.name for run in missing)}",
    )


def _averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row per case and structure, the mean over seeds."""
    import pandas as pd

    keys = ["case_id", "patient_id", "structure", IS_BIN]
    rows = pd.concat(tables).groupby(keys, sort=False).mean(numeric_only=True)
    return rows.reset_index()
