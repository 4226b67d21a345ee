"""Scores as tables: a row per case and structure, per lesion, per image of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from medseg.evaluation.cases import StructureScore
from medseg.evaluation.folder import ScoredCase
from medseg.evaluation.instances import InstanceScores
from medseg.evaluation.lesions import LesionScores, size_bin_of

if TYPE_CHECKING:
    import pandas as pd


def structure_table(rows: Sequence[StructureScore]) -> pd.DataFrame:
    """A row per case and structure; lesion counts where lesions were scored."""
    import pandas as pd

    nested = {"lesions", "extra"}
    names = [field.name for field in fields(StructureScore) if field.name not in nested]
    if not any(row.lesions or row.extra for row in rows):
        return pd.DataFrame(
            [{n: getattr(r, n) for n in names} for r in rows], None, names
        )
    return pd.DataFrame(
        [
            {n: getattr(r, n) for n in names} | r.extra | _lesion_columns(r.lesions)
            for r in rows
        ]
    )


def lesion_table(
    rows: Sequence[StructureScore], *, edges_ml: Sequence[float]
) -> pd.DataFrame:
    """A row per lesion of the reference and per false positive, with its size bin.

    Args:
        rows: Scores of cases.
        edges_ml: Borders between size bins, in ml.
    """
    import pandas as pd

    columns = ["case_id", "patient_id", "structure", "kind", "lesion_id", "volume_ml"]
    columns += ["size_bin", "coverage", "detected", "dice"]
    table = []
    for row in rows:
        if row.lesions is None:
            continue
        case = (row.case_id, row.patient_id, row.structure)
        for le in row.lesions.lesions:
            size = size_bin_of(le.volume_ml, edges_ml)
            found = (le.coverage, le.detected, le.dice)
            table.append((*case, "lesion", le.lesion_id, le.volume_ml, size, *found))
        for volume_ml in row.lesions.false_positives_ml:
            size = size_bin_of(volume_ml, edges_ml)
            table.append((*case, "false positive", 0, volume_ml, size, 0.0, False, 0.0))
    return pd.DataFrame(table, columns=columns)


def object_table(cases: Sequence[ScoredCase]) -> pd.DataFrame:
    """A row per image whose single objects were scored."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "case_id": case.pair.case_id,
                "patient_id": case.pair.patient_id or case.pair.case_id,
                **_object_columns(case.objects),
            }
            for case in cases
            if case.objects is not None
        ]
    )


def _lesion_columns(lesions: LesionScores | None) -> dict[str, float]:
    if lesions is None:
        return {}
    return {
        "num_lesions": len(lesions.lesions),
        "num_lesions_found": lesions.num_detected,
        "num_false_lesions": len(lesions.false_positives_ml),
        "lesion_sensitivity": lesions.sensitivity,
        "lesion_f1": lesions.f1,
        "lesionwise_dice": lesions.lesionwise_dice,
    }


def _object_columns(scores: InstanceScores) -> dict[str, float]:
    columns: dict[str, float] = {
        "num_predicted": scores.num_predicted,
        "num_reference": scores.num_reference,
        "count_error": scores.num_predicted - scores.num_reference,
        "aggregated_jaccard": scores.aggregated_jaccard,
        "panoptic_quality": scores.matches[0].panoptic_quality,
    }
    for match in scores.matches:
        suffix = f"{match.threshold:g}"
        columns[f"ap_{suffix}"] = match.average_precision
        columns[f"f1_{suffix}"] = match.f1
        columns[f"found_{suffix}"] = match.found
        columns[f"invented_{suffix}"] = match.invented
        columns[f"missed_{suffix}"] = match.missed
    return columns
