"""Scores of predictions against references: overlap, surfaces, lesions, instances."""

from medseg.evaluation.overlap import (
    OverlapCounts,
    confusion_matrix,
    counts_from_confusion,
    dice,
    dice_per_label,
    iou,
    overlap_counts,
)

__all__ = [
    "OverlapCounts",
    "confusion_matrix",
    "counts_from_confusion",
    "dice",
    "dice_per_label",
    "iou",
    "overlap_counts",
]
