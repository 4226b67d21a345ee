"""Overlap of two masks or label maps: counts first, scores from the counts.

A structure that is absent from both masks has no score (NaN). One that is missed
altogether scores 0 everywhere, precision included: leaving it undefined would let a
model look better the more it misses.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from medseg.errors import GridMismatchError
from medseg.labels import IGNORE_INDEX

Box: TypeAlias = tuple[slice, ...]
"""One slice per axis; empty slices where there is nothing."""


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box around the true voxels, one slice per axis."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else _NONE)
    return tuple(box)


_NONE = slice(0, 0)


_BLOCK_VOXELS = 1 << 20
"""Voxels counted at a time, so that the 64-bit copies stay in the cache."""


@dataclass(frozen=True)
class OverlapCounts:
    """Voxels of one structure: shared, predicted, in the reference."""

    shared: int
    """Voxels that both have (true positives)."""
    predicted: int
    """Voxels of the prediction."""
    reference: int
    """Voxels of the reference."""

    @property
    def dice(self) -> float:
        """2 |P ∩ R| / (|P| + |R|); NaN when both are empty."""
        return _ratio(2 * self.shared, self.predicted + self.reference)

    @property
    def iou(self) -> float:
        """|P ∩ R| / |P ∪ R|, also called Jaccard; NaN when both are empty."""
        return _ratio(self.shared, self.predicted + self.reference - self.shared)

    @property
    def sensitivity(self) -> float:
        """|P ∩ R| / |R|, also called recall; NaN when the reference is empty."""
        return _ratio(self.shared, self.reference)

    @property
    def precision(self) -> float:
        """|P ∩ R| / |P|; 0 for a missed structure, NaN when both are empty."""
        if self.predicted == 0 and self.reference > 0:
            return 0.0
        return _ratio(self.shared, self.predicted)

    @property
    def relative_volume_error(self) -> float:
        """(|P| − |R|) / |R|, −1 for a missed structure; NaN without a reference."""
        return _ratio(self.predicted - self.reference, self.reference)


def overlap_counts(prediction: np.ndarray, reference: np.ndarray) -> OverlapCounts:
    """Voxel counts of two boolean masks of equal shape.

    Raises:
        GridMismatchError: The two shapes differ.
    """
    _require_equal_shapes(prediction, reference)
    return OverlapCounts(
        shared=int(np.count_nonzero(prediction & reference)),
        predicted=int(np.count_nonzero(prediction)),
        reference=int(np.count_nonzero(reference)),
    )


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice coefficient of two boolean masks; NaN when both are empty."""
    return overlap_counts(prediction, reference).dice


def iou(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Intersection over union of two boolean masks; NaN when both are empty."""
    return overlap_counts(prediction, reference).iou


def confusion_matrix(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    num_classes: int,
    ignore: int | None = IGNORE_INDEX,
) -> np.ndarray:
    """How many voxels of each reference label carry each predicted label.

    Args:
        prediction: Label indices below `num_classes`, any shape.
        reference: Label indices below `num_classes`, or `ignore`; same shape.
        num_classes: Number of indices, background included.
        ignore: Index in the reference of voxels that are left out; None for none.
            A predicted `ignore` counts as background.

    Returns:
        Counts, int64, shape (num_classes, num_classes); rows are the reference.

    Raises:
        GridMismatchError: The two shapes differ.
    """
    _require_equal_shapes(prediction, reference)
    box = bounding_box((prediction != 0) | (reference != 0))
    # The order of voxels does not matter, so both are read as they lie in memory.
    order: Literal["C", "F"] = "F" if reference.flags.f_contiguous else "C"
    flat_prediction = prediction[box].ravel(order)
    flat_reference = reference[box].ravel(order)
    counts = np.zeros(num_classes * num_classes, dtype=np.int64)
    for start in range(0, flat_reference.size, _BLOCK_VOXELS):
        block = slice(start, start + _BLOCK_VOXELS)
        rows, columns = flat_reference[block], flat_prediction[block]
        if ignore is not None:
            scored = rows != ignore
            if not scored.all():
                rows, columns = rows[scored], columns[scored]
            columns = np.where(columns == ignore, 0, columns)
        pairs = rows.astype(np.intp) * num_classes + columns
        counts += np.bincount(pairs, minlength=counts.size)
    counts[0] += reference.size - flat_reference.size
    return counts.reshape(num_classes, num_classes)


def dice_per_label(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    num_classes: int,
    ignore: int | None = IGNORE_INDEX,
) -> np.ndarray:
    """Dice of every structure, background left out, in one pass over the voxels.

    Args:
        prediction: Label indices, any shape.
        reference: Label indices, same shape.
        num_classes: Number of indices, background included.
        ignore: Index in the reference of voxels that are left out.

    Returns:
        Dice of labels 1 to num_classes − 1, float64; NaN where a label is absent
        from both, 0 where it is absent from one.

    Raises:
        GridMismatchError: The two shapes differ.
    """
    confusion = confusion_matrix(
        prediction, reference, num_classes=num_classes, ignore=ignore
    )
    shared = np.diagonal(confusion)[1:].astype(np.float64)
    total = (confusion.sum(axis=0) + confusion.sum(axis=1))[1:]
    scores = np.full(num_classes - 1, np.nan)
    np.divide(2 * shared, total, out=scores, where=total > 0)
    return scores


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")


def _require_equal_shapes(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.shape != reference.shape:
        raise GridMismatchError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}"
        )
