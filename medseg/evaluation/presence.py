"""Scores of the question whether a scan holds a structure at all.

Each case has a probability for each structure, and a reference that holds it or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from medseg.evaluation.bootstrap import mean_interval

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 0.5
"""Probability from which a structure counts as present."""


def presence_table(
    cases: pd.DataFrame, presence: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """A row per case and structure: the probability, and whether the reference has it.

    Args:
        cases: Scores of cases; see `medseg.evaluation.tables.structure_table`.
        presence: Probability by case and structure; cases left out have no row.
    """
    import pandas as pd

    columns = ["case_id", "patient_id", "structure", "probability", "present"]
    rows = [
        (case, patient, structure, presence[case][structure], reference > 0)
        for case, patient, structure, reference in zip(
            cases["case_id"],
            cases["patient_id"],
            cases["structure"],
            cases["reference_ml"],
            strict=True,
        )
        if structure in presence.get(case, {}) and not math.isnan(reference)
    ]
    return pd.DataFrame(rows, columns=columns)


def summarize_presence(table: pd.DataFrame) -> pd.DataFrame:
    """AUC, sensitivity and specificity of each structure, with their intervals.

    Args:
        table: As `presence_table` gives it.

    Returns:
        A row per structure: cases, cases with the structure, AUC, and sensitivity and
        specificity at `THRESHOLD` with 95 % intervals over patients. AUC is NaN where
        all cases have the structure or none has, a share NaN where it is of nothing.
    """
    import pandas as pd

    rows = []
    for structure, group in table.groupby("structure", sort=False):
        present = group["present"].to_numpy(bool)
        probability = group["probability"].to_numpy(float)
        row = {"structure": structure, "cases": len(group), "with": int(present.sum())}
        row["auc"] = area_under_curve(probability, present)
        found = probability >= THRESHOLD
        patients = group["patient_id"].to_numpy()
        row |= _share("sensitivity", found[present], patients[present])
        row |= _share("specificity", ~found[~present], patients[~present])
        rows.append(row)
    return pd.DataFrame(rows)


def area_under_curve(probability: np.ndarray, present: np.ndarray) -> float:
    """Area under the ROC curve, from ranks; ties count half.

    Args:
        probability: One number per case.
        present: Whether the case has the structure, boolean.

    References:
        Hanley and McNeil, Radiology 1982, doi:10.1148/radiology.143.1.7063747.
    """
    from scipy.stats import rankdata

    num_with, num_without = int(present.sum()), int((~present).sum())
    if not num_with or not num_without:
        return math.nan
    ranks = rankdata(probability)[present].sum()
    return float((ranks - num_with * (num_with + 1) / 2) / (num_with * num_without))


def _share(name: str, right: np.ndarray, patients: np.ndarray) -> dict[str, float]:
    low, high = mean_interval(right, groups=list(patients))
    mean = float(right.mean()) if len(right) else math.nan
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
