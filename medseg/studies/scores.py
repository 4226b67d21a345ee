"""Scores of a study's finished runs, with the part of the study that each is of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.studies.common_parts import PART
from medseg.studies.comparison import CASES, VALIDATION, read_scores
from medseg.studies.study import StudyRun

if TYPE_CHECKING:
    import pandas as pd


def study_tables(
    runs: Sequence[StudyRun], out: Path
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """Scores of each variation over the folds and seeds that it finished.

    Args:
        runs: All runs of the study.
        out: The study's folder.

    Returns:
        A table by variation with the column `PART`, and the variations without any,
        in words.

    Raises:
        MissingFileError: A table went away meanwhile.
    """
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {run.variation: [] for run in runs}
    for run in runs:
        folder = out / "runs" / run.name / VALIDATION
        if (folder / CASES).is_file():
            scores = read_scores(folder, name=run.name)
            part = f"fold {run.fold} seed {run.seed}"
            parts[run.variation].append(scores.assign(**{PART: part}))
    tables = {n: pd.concat(p, ignore_index=True) for n, p in parts.items() if p}
    missing = [name for name in parts if name not in tables]
    remarks = (f"Not compared, since no run finished: {', '.join(missing)}.",)
    return tables, remarks if missing else ()
