"""Scores of single objects, such as cells: which were found, and how well.

Objects are numbers in a label image, 0 is background. A predicted object is the
reference object with which it has an IoU of at least a threshold of 0.5 or more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GridMismatchError


@dataclass(frozen=True)
class Matches:
    """Objects found, invented and missed at one IoU threshold."""

    threshold: float
    """IoU from which two objects are the same."""
    found: int
    """Predicted objects that are a reference object (true positives)."""
    invented: int
    """Predicted objects that are none (false positives)."""
    missed: int
    """Reference objects without a partner (false negatives)."""
    summed_iou: float
    """Sum of the IoU of the found objects."""

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), as StarDist and the Data Science Bowl call it."""
        return _ratio(self.found, self.found + self.invented + self.missed)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), in panoptic terms the recognition quality."""
        return _ratio(2 * self.found, 2 * self.found + self.invented + self.missed)

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of the found objects; 0 when all were missed or invented."""
        if self.found == 0 and self.invented + self.missed > 0:
            return 0.0
        return _ratio(self.summed_iou, self.found)

    @property
    def panoptic_quality(self) -> float:
        """F1 times segmentation quality; Kirillov et al., CVPR 2019, at IoU 0.5."""
        return self.f1 * self.segmentation_quality

    def __add__(self, other: "Matches") -> "Matches":
        """The matches of two images together, at the same threshold."""
        if self.threshold != other.threshold:
            raise ValueError(f"thresholds {self.threshold} and {other.threshold}")
        return Matches(
            self.threshold,
            self.found + other.found,
            self.invented + other.invented,
            self.missed + other.missed,
            self.summed_iou + other.summed_iou,
        )


@dataclass(frozen=True)
class InstanceScores:
    """How well the objects of one image were found."""

    num_predicted: int
    """Number of predicted objects."""
    num_reference: int
    """Number of reference objects."""
    matches: tuple[Matches, ...]
    """One entry per IoU threshold."""
    aggregated_jaccard: float
    """AJI; NaN when there are no objects at all."""

    def at(self, threshold: float) -> Matches:
        """The matches at one of the thresholds."""
        return next(item for item in self.matches if item.threshold == threshold)


@dataclass(frozen=True)
class _Overlaps:
    """Sizes of all objects and the pairs of objects that share voxels."""

    predicted_sizes: np.ndarray
    reference_sizes: np.ndarray
    predicted: np.ndarray
    reference: np.ndarray
    shared: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        sizes = self.predicted_sizes[self.predicted]
        return np.asarray(sizes + self.reference_sizes[self.reference] - self.shared)

    @property
    def ious(self) -> np.ndarray:
        return np.asarray(self.shared / self.unions)


def score_instances(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    thresholds: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9),
) -> InstanceScores:
    """Scores of the objects of two label images.

    Args:
        prediction: Object numbers, 0 for background, any shape; need not be dense.
        reference: Object numbers of the same shape.
        thresholds: IoU thresholds, each 0.5 or more.

    Raises:
        GridMismatchError: The two shapes differ.
    """
    if prediction.shape != reference.shape:
        raise GridMismatchError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}"
        )
    overlaps = _overlaps(prediction, reference)
    return InstanceScores(
        num_predicted=len(overlaps.predicted_sizes),
        num_reference=len(overlaps.reference_sizes),
        matches=tuple(_match(overlaps, threshold) for threshold in thresholds),
        aggregated_jaccard=_aggregated_jaccard(overlaps),
    )


def _match(overlaps: _Overlaps, threshold: float) -> Matches:
    """The largest possible one-to-one pairing of objects above a threshold.

    Above 0.5 an object has at most one partner; at exactly 0.5 it may have two, and
    then only one of them counts.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    num_predicted = len(overlaps.predicted_sizes)
    num_reference = len(overlaps.reference_sizes)
    close = overlaps.ious >= threshold
    rows, columns = overlaps.reference[close], overlaps.predicted[close]
    found, summed = 0, 0.0
    if close.any():
        shape = (num_reference, num_predicted)
        ious = coo_array((overlaps.ious[close], (rows, columns)), shape=shape).tocsr()
        partners = maximum_bipartite_matching(ious, perm_type="column")
        matched = np.flatnonzero(partners >= 0)
        found = len(matched)
        summed = float(ious[matched, partners[matched]].sum())
    return Matches(
        threshold, found, num_predicted - found, num_reference - found, summed
    )


def _aggregated_jaccard(overlaps: _Overlaps) -> float:
    """AJI: every reference object with its best partner, unused predictions as loss.

    Kumar et al., IEEE TMI 2017, doi:10.1109/TMI.2017.2677499. A prediction may be
    the best partner of several reference objects, as in the original.
    """
    best = np.full(len(overlaps.reference_sizes), -1)
    order = np.argsort(overlaps.ious, kind="stable")
    best[overlaps.reference[order]] = order  # the last, largest one stays
    pairs = best[best >= 0]
    unused = np.ones(len(overlaps.predicted_sizes), dtype=bool)
    unused[overlaps.predicted[pairs]] = False
    union = overlaps.unions[pairs].sum()
    union += overlaps.reference_sizes[best < 0].sum()
    union += overlaps.predicted_sizes[unused].sum()
    return _ratio(float(overlaps.shared[pairs].sum()), float(union))


def _overlaps(prediction: np.ndarray, reference: np.ndarray) -> _Overlaps:
    predicted_sizes, predicted = _dense(prediction)
    reference_sizes, referenced = _dense(reference)
    both = (predicted > 0) & (referenced > 0)
    pairs = (referenced[both] - 1) * len(predicted_sizes) + predicted[both] - 1
    unique, shared = np.unique(pairs, return_counts=True)
    return _Overlaps(
        predicted_sizes=predicted_sizes,
        reference_sizes=reference_sizes,
        predicted=unique % max(len(predicted_sizes), 1),
        reference=unique // max(len(predicted_sizes), 1),
        shared=shared,
    )


def _dense(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of the objects and the objects renumbered from 1 without gaps."""
    flat = labels.ravel()
    if flat.size and flat.min() >= 0 and flat.max() <= 2 * flat.size:
        counts = np.bincount(flat)
        counts[0] = 0
        numbers = np.where(counts > 0, np.cumsum(counts > 0), 0)
        return counts[counts > 0], numbers[flat]
    values, positions, counts = np.unique(flat, return_inverse=True, return_counts=True)
    objects = values != 0
    numbers = np.where(objects, np.cumsum(objects), 0)
    return counts[objects], numbers[positions]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
