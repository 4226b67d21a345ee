"""Means that hide nothing: with interval, number scored, number missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.metrics import OBJECT_METRICS, STRUCTURE_METRICS
from medseg.evaluation.settings import MetricSettings

if TYPE_CHECKING:
    import pandas as pd

OVERALL = "mean of structures"
"""Name of the row that averages each case's structures first."""
MEAN_OF_IMAGES = "mean of images"
"""Name of the rows that score single objects image by image first."""
ALL_OBJECTS = "all objects"
"""Name of the row that scores the objects of all images together."""


def summarize(
    table: pd.DataFrame,
    *,
    settings: MetricSettings | None = None,
    overall: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Mean, interval, median, spread and counts of each metric and structure.

    Args:
        table: A row per case and structure, as `structure_table` gives.
        settings: Level, resamples and seed of the intervals.
        overall: Structures behind the row `OVERALL`; all when left out. With
            overlapping regions, naming the regions avoids counting voxels twice.

    Returns:
        Columns structure, metric, mean, ci_low, ci_high, median, std, min, max, n
        (cases with a value), n_missed, n_invented, n_absent, n_patients. Intervals
        are bootstrapped over patients. Missed and invented structures are in the
        mean, at the worst value; absent ones are not.
    """
    import pandas as pd

    settings = settings or MetricSettings()
    metrics = [m.name for m in STRUCTURE_METRICS if m.name in table]
    extra = [metric.column_name for metric in settings.extra]
    metrics += [column for column in extra if column in table]
    rows = []
    for structure, part in table.groupby("structure", sort=False):
        counts = part["outcome"].value_counts()
        outcomes = {
            f"n_{kind}": int(counts.get(kind, 0))
            for kind in ("missed", "invented", "absent")
        }
        rows += _summary_rows(part, str(structure), metrics, outcomes, settings)
    names = list(overall or table["structure"].unique())
    if len(names) > 1:
        chosen = table[table["structure"].isin(names)]
        cases = chosen.groupby(["case_id", "patient_id"], sort=False)[metrics]
        means = cases.mean().reset_index()  # over the structures a case has
        outcomes = {
            f"n_{kind}": int((chosen["outcome"] == kind).sum())
            for kind in ("missed", "invented", "absent")
        }
        rows += _summary_rows(means, OVERALL, metrics, outcomes, settings)
    return pd.DataFrame(rows)


def summarize_objects(
    table: pd.DataFrame, *, settings: MetricSettings | None = None
) -> pd.DataFrame:
    """The same for single objects: means over images, and all objects pooled.

    Args:
        table: A row per image, as `object_table` gives.
        settings: Level, resamples and seed of the intervals.
    """
    import pandas as pd

    settings = settings or MetricSettings()
    named = [m.name for m in OBJECT_METRICS if m.name in table]
    columns = [str(column) for column in table]
    metrics = named + [c for c in columns if c.startswith(("ap_", "f1_"))]
    rows = _summary_rows(table, MEAN_OF_IMAGES, metrics, {}, settings)
    for threshold in [c[3:] for c in columns if c.startswith("ap_")]:
        rows += _pooled_rows(table, threshold)
    return pd.DataFrame(rows)


def summarize_lesions(
    table: pd.DataFrame, *, num_scans: int | None = None
) -> pd.DataFrame:
    """Lesions by structure and size bin: how many, how many found, Dice, inventions.

    Args:
        table: A row per lesion and false positive, as `lesion_table` gives.
        num_scans: Scans that were scored, with lesions or without; where given, false
            positives are counted per scan too.
    """
    import pandas as pd

    rows = []
    for structure, part in table.groupby("structure", sort=False):
        order = part.groupby("size_bin")["volume_ml"].min().sort_values().index
        for size_bin in [*order, "all sizes"]:
            chosen = (
                part if size_bin == "all sizes" else part[part.size_bin == size_bin]
            )
            rows.append(_lesion_row(str(structure), str(size_bin), chosen))
    summary = pd.DataFrame(rows)
    if num_scans and len(summary):
        per_scan = summary["n_false_positives"] / num_scans
        summary["false_positives_per_scan"] = per_scan
    return summary


def _lesion_row(structure: str, size_bin: str, part: pd.DataFrame) -> dict[str, object]:
    lesions = part[part["kind"] == "lesion"]
    found = lesions[lesions["detected"].astype(bool)]
    return {
        "structure": structure,
        "size_bin": size_bin,
        "n_lesions": len(lesions),
        "n_found": len(found),
        "sensitivity": len(found) / len(lesions) if len(lesions) else float("nan"),
        "dice": float(lesions["dice"].mean()),
        "dice_of_found": float(found["dice"].mean()),
        "n_false_positives": len(part) - len(lesions),
    }


def _summary_rows(
    part: pd.DataFrame,
    structure: str,
    metrics: Sequence[str],
    outcomes: dict[str, int],
    settings: MetricSettings,
) -> list[dict[str, object]]:
    rows = []
    for metric in metrics:
        values = part[metric].astype(float)
        low, high = mean_interval(
            values.to_numpy(),
            groups=part["patient_id"].tolist(),
            confidence=settings.confidence,
            num_resamples=settings.num_resamples,
            seed=settings.seed,
        )
        rows.append(
            {
                "structure": structure,
                "metric": metric,
                "mean": float(values.mean()),
                "ci_low": low,
                "ci_high": high,
                "median": float(values.median()),
                "std": float(values.std()),
                "min": float(values.min()),
                "max": float(values.max()),
                "n": int(values.notna().sum()),
                **outcomes,
                "n_patients": int(part.loc[values.notna(), "patient_id"].nunique()),
            }
        )
    return rows


def _pooled_rows(table: pd.DataFrame, threshold: str) -> list[dict[str, object]]:
    found, invented, missed = (
        int(table[f"{kind}_{threshold}"].sum())
        for kind in ("found", "invented", "missed")
    )
    total = found + invented + missed
    scores = {
        f"ap_{threshold}": found / total if total else float("nan"),
        f"f1_{threshold}": 2 * found / (total + found) if total else float("nan"),
    }
    return [
        {"structure": ALL_OBJECTS, "metric": name, "mean": value, "n": total}
        for name, value in scores.items()
    ]
