"""Scores of predictions against references: overlap, surfaces, lesions, instances."""

from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.cases import StructureScore, score_case, score_objects
from medseg.evaluation.folder import ScoredCase, score_pairs
from medseg.evaluation.instances import InstanceScores, score_instances
from medseg.evaluation.lesions import LesionScores, score_lesions
from medseg.evaluation.metrics import Metric, metric_named
from medseg.evaluation.overlap import (
    OverlapCounts,
    confusion_matrix,
    dice,
    dice_per_label,
    iou,
    overlap_counts,
)
from medseg.evaluation.pairs import CasePair, pair_files, references_in
from medseg.evaluation.partitions import (
    MembraneScores,
    PartitionScores,
    cells_between,
    score_membranes,
    score_partition,
)
from medseg.evaluation.ranking import rank_variations
from medseg.evaluation.settings import MetricSettings
from medseg.evaluation.statistics import (
    PairedComparison,
    compare_pairs,
    holm,
    paired_scores,
)
from medseg.evaluation.summary import summarize, summarize_lesions, summarize_objects
from medseg.evaluation.surface import (
    SurfaceDistances,
    hausdorff_distance,
    surface_dice,
    surface_distances,
)
from medseg.evaluation.tables import lesion_table, object_table, structure_table

__all__ = [
    "CasePair",
    "InstanceScores",
    "LesionScores",
    "MembraneScores",
    "Metric",
    "MetricSettings",
    "OverlapCounts",
    "PairedComparison",
    "PartitionScores",
    "ScoredCase",
    "StructureScore",
    "SurfaceDistances",
    "cells_between",
    "compare_pairs",
    "confusion_matrix",
    "dice",
    "dice_per_label",
    "hausdorff_distance",
    "holm",
    "iou",
    "lesion_table",
    "mean_interval",
    "metric_named",
    "object_table",
    "overlap_counts",
    "pair_files",
    "paired_scores",
    "rank_variations",
    "references_in",
    "score_case",
    "score_instances",
    "score_lesions",
    "score_membranes",
    "score_objects",
    "score_pairs",
    "score_partition",
    "structure_table",
    "summarize",
    "summarize_lesions",
    "summarize_objects",
    "surface_dice",
    "surface_distances",
]
