"""Tables as plain text, for a terminal or a log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medseg.evaluation.metrics import metric_named

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("dice", "nsd", "hd95_mm", "assd_mm", "lesion_f1")
"""Metrics that a summary in text shows; files hold all."""


def format_number(value: float, *, unit: str = "") -> str:
    """A number as people read it: shares with three digits, lengths with two."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2f}" if unit else f"{value:.3f}"


def format_duration(seconds: float) -> str:
    """Seconds as people say them, such as ``"1 h 20 min"`` or ``"4.2 s"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width; the first is aligned left, the others right."""
    widths = [max(len(line[n]) for line in (header, *rows)) for n in range(len(header))]
    lines = []
    for line in (header, *rows):
        first = line[0].ljust(widths[0])
        rest = (text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=True))
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def format_table(table: pd.DataFrame) -> str:
    """Any table: shares and other numbers with three digits, whole ones as they are."""
    heads = [metric_named(str(name)).title.replace("_", " ") for name in table.columns]
    rows = [[_plain(value) for value in row] for row in table.itertuples(index=False)]
    return format_columns(heads, rows)


def _plain(value: object) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if isinstance(value, int) or value.is_integer():
        return str(int(value))
    return format_number(float(value))


def format_summary(summary: pd.DataFrame, *, confidence: float = 0.95) -> str:
    """The summary of structures: mean and interval of the main metrics, and counts.

    Args:
        summary: As `medseg.evaluation.summarize` gives.
        confidence: Level of its intervals, for the caption.
    """
    shown = [name for name in SHOWN if name in set(summary["metric"])]
    titles = [metric_named(name) for name in shown]
    header = ["structure", *(m.title + (f" [{m.unit}]" * bool(m.unit)) for m in titles)]
    header += ["n", "missed", "invented"]
    rows = []
    for structure, part in summary.groupby("structure", sort=False):
        cells = {str(row["metric"]): row for _, row in part.iterrows()}
        first = part.iloc[0]
        rows.append(
            [
                str(structure),
                *(_mean_with_interval(cells[name], name) for name in shown),
                str(first["n"]),
                str(first["n_missed"]),
                str(first["n_invented"]),
            ]
        )
    caption = f"mean ({confidence:.0%} interval over patients); missed counts as worst"
    return format_columns(header, rows) + f"\n{caption}"


def format_lesions(lesions: pd.DataFrame) -> str:
    """Lesions by structure and size: how many were found, how well, what was invented.

    Args:
        lesions: As `medseg.evaluation.summarize_lesions` gives for some scans.
    """
    header = ["lesions", "found", "of", "sensitivity", "Dice", "Dice of found"]
    header += ["false positives", "per scan"]
    rows = [
        [
            f"{row['structure']}, {row['size_bin']}",
            str(row["n_found"]),
            str(row["n_lesions"]),
            *(
                format_number(float(row[name]))
                for name in ("sensitivity", "dice", "dice_of_found")
            ),
            str(row["n_false_positives"]),
            format_number(float(row["false_positives_per_scan"]), unit="per scan"),
        ]
        for row in lesions.to_dict(orient="records")
    ]
    return format_columns(header, rows)


def format_objects(objects: pd.DataFrame) -> str:
    """Average precision and F1 of single objects at each IoU.

    Args:
        objects: As `medseg.evaluation.summarize_objects` gives.
    """
    values = objects.set_index(["structure", "metric"])["mean"]
    kinds = list(dict.fromkeys(objects["structure"]))
    names = list(dict.fromkeys(m for m in objects["metric"] if m.startswith("ap_")))
    header = ["objects", *(f"{kind}: {n}" for kind in kinds for n in ("AP", "F1"))]
    rows = [
        [
            f"IoU {name.removeprefix('ap_')}",
            *(
                format_number(float(values[kind, metric]))
                for kind in kinds
                for metric in (name, name.replace("ap_", "f1_"))
            ),
        ]
        for name in names
    ]
    return format_columns(header, rows)


def _mean_with_interval(row: pd.Series, metric: str) -> str:
    unit = metric_named(metric).unit
    mean, low, high = (
        format_number(float(row[name]), unit=unit)
        for name in ("mean", "ci_low", "ci_high")
    )
    return mean if low == "–" else f"{mean} ({low} to {high})"


def format_fact(value: object) -> str:
    """A setting as people write it: lists with commas, six digits, a dash for none."""
    if value is None or value == "" or value == () or value == [] or value == {}:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format_fact(v)}" for name, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(format_fact(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
