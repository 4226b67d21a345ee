"""Scores of lesions of one size, case by case, to be compared like a structure's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

IS_BIN = "is_size_bin"
"""Column that tells rows of lesions of one size from rows of whole structures."""


def scores_by_size(lesions: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice and detection of the reference's lesions, per case and size bin.

    Args:
        lesions: A row per lesion, as `lesion_table` gives; false positives have no
            reference size and are left out.

    Returns:
        Columns case_id, patient_id, structure (such as ``tumour, 1 to 10 ml``), dice,
        lesion_sensitivity and `IS_BIN`; a row for each case that has such lesions.
    """
    real = lesions[lesions["kind"] == "lesion"]
    names = real["structure"].astype(str) + ", " + real["size_bin"].astype(str)
    rows = real.assign(structure=names, lesion_sensitivity=real["detected"] * 1.0)
    keys = ["structure", "case_id", "patient_id"]
    means = rows.groupby(keys, sort=False)[["dice", "lesion_sensitivity"]].mean()
    smallest = rows.groupby("structure")["volume_ml"].min()
    table = means.reset_index().assign(**{IS_BIN: True})
    order = table["structure"].map(smallest)
    return table.iloc[order.argsort(kind="stable")].reset_index(drop=True)
