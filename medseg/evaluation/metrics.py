"""The metrics that tables hold: names, units and which way is better."""

from collections.abc import Iterable
from dataclasses import dataclass

from medseg.errors import SettingsError
from medseg.setting_errors import nearest_name


@dataclass(frozen=True)
class Metric:
    """How to read one column of scores."""

    name: str
    """Column in tables and CSV files."""
    title: str
    """What people call it."""
    unit: str = ""
    """Unit of the values; empty for shares."""
    larger_is_better: bool | None = True
    """None where the best value lies between, such as a volume error of 0."""
    bounded: bool = True
    """Whether the values lie between 0 and 1."""


STRUCTURE_METRICS: tuple[Metric, ...] = (
    Metric("dice", "Dice"),
    Metric("nsd", "NSD"),
    Metric("hd95_mm", "HD95", "mm", larger_is_better=False, bounded=False),
    Metric("assd_mm", "ASSD", "mm", larger_is_better=False, bounded=False),
    Metric("iou", "IoU"),
    Metric("sensitivity", "Sensitivity"),
    Metric("precision", "Precision"),
    Metric("lesion_sensitivity", "Lesion sensitivity"),
    Metric("lesion_f1", "Lesion F1"),
    Metric("lesionwise_dice", "Lesion-wise Dice"),
    Metric(
        "num_false_lesions",
        "False positives",
        "per scan",
        larger_is_better=False,
        bounded=False,
    ),
    Metric("hd_mm", "HD", "mm", larger_is_better=False, bounded=False),
    Metric("volume_ml", "Volume", "ml", larger_is_better=None, bounded=False),
    Metric("reference_ml", "Reference", "ml", larger_is_better=None, bounded=False),
    Metric(
        "volume_error_ml", "Volume error", "ml", larger_is_better=None, bounded=False
    ),
    Metric(
        "relative_volume_error",
        "Relative volume error",
        larger_is_better=None,
        bounded=False,
    ),
)
"""Metrics of one structure in one case."""

OBJECT_METRICS: tuple[Metric, ...] = (
    Metric("panoptic_quality", "PQ"),
    Metric("aggregated_jaccard", "AJI"),
    Metric("count_error", "Count error", larger_is_better=None, bounded=False),
)
"""Metrics of the single objects of one image; precision and F1 per threshold follow
the pattern ``ap_0.5`` and ``f1_0.5``."""


SYNONYMS = {
    "hd95": "hd95_mm",
    "hausdorff95": "hd95_mm",
    "hd": "hd_mm",
    "hausdorff": "hd_mm",
    "assd": "assd_mm",
    "asd": "assd_mm",
    "dsc": "dice",
    "surface_dice": "nsd",
    "jaccard": "iou",
    "recall": "sensitivity",
    "volume": "volume_ml",
}
"""Column by other usual names of a metric; upper and lower case are alike."""


def column_of(name: str, columns: Iterable[str] | None = None) -> str:
    """The column of the per-case tables that a metric's name means.

    Args:
        name: As a user writes it, such as ``HD95``.
        columns: Columns that there are; None takes those that medseg measures of
            structures.

    Raises:
        SettingsError: There is no such column; the nearest is named.
    """
    known = [m.name for m in STRUCTURE_METRICS] if columns is None else list(columns)
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    column = SYNONYMS.get(plain, plain)
    for found in (name, column):
        if found in known:
            return found
    other = [synonym for synonym, column in SYNONYMS.items() if column in known]
    raise SettingsError(
        f"metric {name}: unknown{nearest_name(plain, [*known, *other])}; known: "
        f"{', '.join(known)}"
    )


def metric_named(name: str) -> Metric:
    """The metric of a column; an unknown column is taken as larger is better."""
    known = {metric.name: metric for metric in (*STRUCTURE_METRICS, *OBJECT_METRICS)}
    if name in known:
        return known[name]
    kind, _, threshold = name.partition("_")
    title = {"ap": "AP", "f1": "F1"}.get(kind)
    return Metric(name, f"{title}@{threshold}" if title and threshold else name)
