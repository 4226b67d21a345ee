"""All scores of one case: a row for each structure and each overlapping region.

Nothing flatters. A structure that the prediction misses, or invents where the
reference has none, gets the worst value: overlap and NSD 0, distances the diagonal of
the image, the largest that could occur in it. A structure that is in neither has no
score (NaN) and is left out of means, whose n says so.
"""

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medseg.errors import GridMismatchError
from medseg.evaluation.instances import InstanceScores, score_instances
from medseg.evaluation.lesions import LesionScores, score_lesions
from medseg.evaluation.overlap import OverlapCounts, overlap_counts
from medseg.evaluation.plugin_metrics import PluginMetric, build_metrics
from medseg.evaluation.settings import MetricSettings
from medseg.evaluation.surface import surface_distances
from medseg.geometry import (
    ORTHONORMAL_TOLERANCE,
    Grid,
    direction_of,
    orthonormality_error,
)
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.volume import LabelMap

Outcome = Literal["scored", "missed", "invented", "absent"]
"""Whether prediction and reference have a structure: both, only the reference, only
the prediction, neither."""


@dataclass(frozen=True)
class StructureScore:
    """The scores of one structure or region in one case."""

    case_id: str
    patient_id: str
    structure: str
    """Name of the structure or region."""
    outcome: Outcome
    """Whether prediction and reference have it."""
    dice: float
    iou: float
    sensitivity: float
    precision: float
    hd_mm: float
    """Hausdorff distance."""
    hd95_mm: float
    """The larger of the two directed 95th percentiles."""
    assd_mm: float
    """Average symmetric surface distance."""
    nsd: float
    """Surface Dice at the tolerance of the settings."""
    volume_ml: float
    """Volume of the prediction."""
    reference_ml: float
    """Volume of the reference."""
    volume_error_ml: float
    """Prediction minus reference."""
    relative_volume_error: float
    """Volume error over the reference's volume; NaN without a reference."""
    lesions: LesionScores | None = None
    """Lesion by lesion, where the settings ask for it."""
    extra: dict[str, float] = field(default_factory=dict)
    """Metrics by path, by their columns."""


def score_case(
    prediction: LabelMap,
    reference: LabelMap,
    scheme: LabelScheme,
    settings: MetricSettings | None = None,
    *,
    case_id: str = "case",
    patient_id: str = "",
    unannotated: Collection[str] = (),
) -> list[StructureScore]:
    """A row of scores for every structure and every overlapping region.

    Args:
        prediction: Values as in files, on the reference's grid or the same voxels in
            another orientation. Where it holds the scheme's ignore value, it counts
            as background.
        reference: Values as in files. Ignored voxels are left out of everything.
        scheme: Names of the values.
        settings: What is measured; defaults when left out.
        case_id: For the rows and for messages.
        patient_id: For the rows; the case itself when left out.
        unannotated: Structures that the reference does not annotate. They, and regions
            that have one as a member, get no row.

    Raises:
        GridMismatchError: The two grids differ; the message says how.
        LabelError: A label map holds values that the scheme does not know.
    """
    settings = settings or MetricSettings()
    pair = _IndexPair.build(prediction, reference, scheme, case_id=case_id)
    members: dict[str, tuple[int, ...]] = {
        name: (index,) for index, name in enumerate(scheme.structures, 1)
    }
    for region, parts in scheme.regions.items():
        members[region] = tuple(scheme.structures.index(part) + 1 for part in parts)
    left_out = scheme.incomplete(unannotated)
    extra = build_metrics(settings.extra)
    return [
        _score_structure(
            pair,
            name,
            labels,
            settings,
            case_id,
            patient_id=patient_id or case_id,
            extra=extra,
        )
        for name, labels in members.items()
        if name not in left_out
    ]


def score_objects(
    prediction: LabelMap,
    reference: LabelMap,
    scheme: LabelScheme,
    settings: MetricSettings | None = None,
    *,
    case_id: str = "case",
) -> InstanceScores:
    """Scores of the single objects of two label maps whose values number objects.

    Raises:
        GridMismatchError: The two grids differ; the message says how.
    """
    settings = settings or MetricSettings()
    _require_same_grid(prediction, reference, case_id)
    outside = [scheme.background]
    if scheme.ignore is not None:
        outside.append(scheme.ignore)
    skipped = np.isin(reference.voxels, outside[1:])
    objects = [
        np.where(np.isin(label_map.voxels, outside) | unscored, 0, label_map.voxels)
        for label_map, unscored in ((prediction, skipped), (reference, False))
    ]
    return score_instances(*objects, thresholds=settings.instance_thresholds)


@dataclass(frozen=True)
class _IndexPair:
    """Both label maps as indices, ignored voxels emptied, and where structures lie."""

    prediction: np.ndarray
    reference: np.ndarray
    boxes: tuple[tuple[tuple[slice, ...] | None, ...], ...]
    grid: Grid

    @classmethod
    def build(
        cls,
        prediction: LabelMap,
        reference: LabelMap,
        scheme: LabelScheme,
        *,
        case_id: str,
    ) -> "_IndexPair":
        from scipy.ndimage import find_objects

        prediction = prediction.turned_to(reference.grid)
        _require_same_grid(prediction, reference, case_id)
        predicted = scheme.to_indices(prediction.voxels, name=f"{case_id} (prediction)")
        referenced = scheme.to_indices(reference.voxels, name=f"{case_id} (reference)")
        if scheme.ignore is not None:
            ignored = referenced == IGNORE_INDEX
            predicted[ignored | (predicted == IGNORE_INDEX)] = 0
            referenced[ignored] = 0
        last = scheme.num_classes - 1
        boxes = tuple(tuple(find_objects(a, last)) for a in (predicted, referenced))
        return cls(predicted, referenced, boxes, reference.grid)

    def whole(self, labels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Both masks of a union of labels, of the whole case."""
        return np.isin(self.prediction, labels), np.isin(self.reference, labels)

    def masks(self, labels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
        """Both masks of a union of labels, in the box around them; None if empty."""
        found = [b for side in self.boxes for n in labels if (b := side[n - 1])]
        if not found:
            return None
        box = tuple(
            slice(min(b[axis].start for b in found), max(b[axis].stop for b in found))
            for axis in range(3)
        )
        # An axis of one voxel in the box alone must not look like a 2D image.
        box = tuple(
            _at_least_two(part, size)
            for part, size in zip(box, self.grid.shape, strict=True)
        )
        if len(labels) == 1:
            return self.prediction[box] == labels[0], self.reference[box] == labels[0]
        return np.isin(self.prediction[box], labels), np.isin(
            self.reference[box], labels
        )


@dataclass(frozen=True)
class _Distances:
    hd_mm: float = math.nan
    hd95_mm: float = math.nan
    assd_mm: float = math.nan
    nsd: float = math.nan


def _score_structure(
    pair: _IndexPair,
    name: str,
    labels: tuple[int, ...],
    settings: MetricSettings,
    case_id: str,
    *,
    patient_id: str,
    extra: Sequence[PluginMetric] = (),
) -> StructureScore:
    masks = pair.masks(labels)
    counts = OverlapCounts(0, 0, 0) if masks is None else overlap_counts(*masks)
    outcome = _outcome(counts)
    voxel_ml = pair.grid.voxel_volume_mm3 / 1000
    distances = _measure(masks, pair.grid, outcome, settings, name)
    return StructureScore(
        case_id=case_id,
        patient_id=patient_id,
        structure=name,
        outcome=outcome,
        dice=counts.dice,
        iou=counts.iou,
        sensitivity=counts.sensitivity,
        precision=counts.precision,
        hd_mm=distances.hd_mm,
        hd95_mm=distances.hd95_mm,
        assd_mm=distances.assd_mm,
        nsd=distances.nsd,
        volume_ml=counts.predicted * voxel_ml,
        reference_ml=counts.reference * voxel_ml,
        volume_error_ml=(counts.predicted - counts.reference) * voxel_ml,
        relative_volume_error=counts.relative_volume_error,
        lesions=_lesions(masks, pair.grid, settings, name),
        extra={
            metric.settings.column_name: metric.value(
                *pair.whole(labels), spacing=pair.grid.spacing
            )
            for metric in extra
        },
    )


def _measure(
    masks: tuple[np.ndarray, np.ndarray] | None,
    grid: Grid,
    outcome: Outcome,
    settings: MetricSettings,
    name: str,
) -> _Distances:
    if not settings.distances or masks is None:
        return _Distances()
    if outcome != "scored":
        worst = diagonal_mm(grid)
        return _Distances(worst, worst, worst, 0.0)
    sheared = orthonormality_error(grid.affine) > ORTHONORMAL_TOLERANCE
    found = surface_distances(
        *masks,
        spacing=grid.spacing,
        surface=settings.surface,
        direction=direction_of(grid.affine) if sheared else None,
    )
    return _Distances(
        hd_mm=found.hausdorff(),
        hd95_mm=found.hausdorff(percentile=95),
        assd_mm=found.average(),
        nsd=found.surface_dice(tolerance_mm=settings.tolerance_of(name)),
    )


def _lesions(
    masks: tuple[np.ndarray, np.ndarray] | None,
    grid: Grid,
    settings: MetricSettings,
    name: str,
) -> LesionScores | None:
    if not settings.scores_lesions_of(name):
        return None
    if masks is None:
        return LesionScores((), ())
    return score_lesions(
        *masks,
        voxel_volume_mm3=grid.voxel_volume_mm3,
        coverage=settings.lesion_coverage,
        min_ml=settings.lesion_min_ml,
    )


def diagonal_mm(grid: Grid) -> float:
    """Largest distance in mm between two voxel centres of a grid."""
    last = np.asarray(grid.shape) - 1
    corners = np.array(list(itertools.product((0, 1), repeat=3))) * last
    world = corners @ grid.affine[:3, :3].T
    return max(float(np.linalg.norm(world - corner, axis=1).max()) for corner in world)


def _outcome(counts: OverlapCounts) -> Outcome:
    if counts.predicted and counts.reference:
        return "scored"
    if counts.reference:
        return "missed"
    return "invented" if counts.predicted else "absent"


def _at_least_two(part: slice, size: int) -> slice:
    if part.stop - part.start > 1 or size == 1:
        return part
    return (
        slice(part.start, part.stop + 1)
        if part.stop < size
        else slice(part.start - 1, part.stop)
    )


def _require_same_grid(prediction: LabelMap, reference: LabelMap, case_id: str) -> None:
    difference = reference.grid.mismatch(prediction.grid)
    if difference:
        raise GridMismatchError(
            f"{case_id}: the prediction does not lie on the reference's grid: "
            f"{difference}; resample it, or predict on the same scan"
        )
