"""Scores of a partition into cells, and of the membranes that enclose them.

For membranes in electron microscopy, what matters is not each pixel of a membrane but
whether cells are kept apart and whole. Both scores are the foreground-restricted ones
of Arganda-Carreras et al., Front Neuroanat 2015, doi:10.3389/fnana.2015.00142: pixels
that the reference gives to no cell (membrane) are left out.

At each threshold the membranes are thinned to lines of one pixel before cells are told
apart, so that a score does not depend on how thick membranes were drawn. The challenge
reports the best threshold, which flatters: it is chosen on the very slices it scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GridMismatchError


@dataclass(frozen=True)
class PartitionScores:
    """How well a partition agrees, 1 at best."""

    rand: float
    """F-score of pairs of pixels that share a cell; 1 minus the adapted Rand error."""
    rand_split: float
    """Share of the reference's pairs that stay together; low when cells are split."""
    rand_merge: float
    """Share of the prediction's pairs that belong together; low when cells merge."""
    information: float
    """Mutual information over the mean of both entropies."""


def score_partition(prediction: np.ndarray, reference: np.ndarray) -> PartitionScores:
    """Foreground-restricted Rand and information scores of two sets of cells.

    Args:
        prediction: Cell numbers, 0 between cells, any shape; each pixel between cells
            counts as part of one cell called 0.
        reference: Cell numbers of the same shape; pixels that are 0 are left out.

    Returns:
        The scores; NaN when the reference has no cell. The information score is 1
        when both are one single cell.

    Raises:
        GridMismatchError: The two shapes differ.
    """
    if prediction.shape != reference.shape:
        raise GridMismatchError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}"
        )
    inside = reference != 0
    if not inside.any():
        return PartitionScores(*[float("nan")] * 4)
    joint, predicted, referenced = _shares(prediction[inside], reference[inside])
    pairs = float((joint**2).sum())
    split = pairs / float((referenced**2).sum())
    merge = pairs / float((predicted**2).sum())
    entropy = _entropy(predicted) + _entropy(referenced)
    mutual = entropy - _entropy(joint)
    return PartitionScores(
        rand=2 * split * merge / (split + merge),
        rand_split=split,
        rand_merge=merge,
        information=2 * mutual / entropy if entropy > 0 else 1.0,
    )


def cells_between(membrane: np.ndarray) -> np.ndarray:
    """Cell numbers of what a membrane mask encloses, 0 on the membrane itself.

    Cells touch by faces only (4 neighbours in 2D, 6 in 3D), so that a membrane one
    pixel wide keeps them apart.

    Args:
        membrane: Boolean mask of two or three axes.
    """
    import cc3d

    inside = np.ascontiguousarray(~membrane)
    if membrane.ndim == 2:
        return np.asarray(cc3d.connected_components(inside, connectivity=4))
    return np.asarray(cc3d.connected_components(inside, connectivity=6))


def _shares(
    prediction: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of pixels in each overlap, each predicted and each reference cell."""
    predicted = np.unique(prediction, return_inverse=True)[1].astype(np.int64)
    referenced = np.unique(reference, return_inverse=True)[1].astype(np.int64)
    pairs = referenced * (int(predicted.max()) + 1) + predicted
    counts = (
        np.unique(pairs, return_counts=True)[1],
        np.bincount(predicted),
        np.bincount(referenced),
    )
    joint, rows, columns = (count / prediction.size for count in counts)
    return joint, rows, columns


def _entropy(shares: np.ndarray) -> float:
    return float(-(shares * np.log(shares)).sum())


AT_ARGMAX = 0.5
"""The threshold at which a voxel gets the likelier of two classes."""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, AT_ARGMAX, 0.6, 0.7, 0.8, 0.9)
"""Those of the challenge, without 0 and 1, where nothing is decided."""


@dataclass(frozen=True)
class MembraneScores:
    """Scores of one slice at one threshold."""

    threshold: float
    """Membrane is where the probability exceeds it."""
    scores: PartitionScores
    """V_Rand (``rand``), V_Info (``information``), splits and merges."""


def score_membranes(
    probability: np.ndarray,
    membrane: np.ndarray,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[MembraneScores]:
    """Foreground-restricted Rand and information scores after thinning.

    Args:
        probability: Of membrane, from 0 to 1, shape (I, J).
        membrane: Boolean mask of the reference; its pixels are not scored.
        thresholds: Where the probability is cut, one score each.

    Raises:
        GridMismatchError: The two shapes differ, or are no slices.

    References:
        Arganda-Carreras et al., Front Neuroanat 2015, doi:10.3389/fnana.2015.00142.
    """
    if probability.shape != membrane.shape or membrane.ndim != 2:
        raise GridMismatchError(
            f"probability has shape {probability.shape}, reference {membrane.shape}; "
            "expected two slices (I, J) of one shape"
        )
    reference = cells_between(membrane)
    return [
        MembraneScores(
            float(threshold),
            score_partition(cells_after_thinning(probability > threshold), reference),
        )
        for threshold in thresholds
    ]


def cells_after_thinning(membrane: np.ndarray) -> np.ndarray:
    """Cell numbers when only lines one pixel wide are left of a membrane mask.

    Every cell grows into the membrane at equal speed until it meets another. So no
    two cells merge and none is lost, also at the border of the image, where a
    skeleton would draw back; a line that ends inside of a cell disappears.
    """
    import edt
    from skimage.segmentation import watershed

    cells = cells_between(membrane)
    depth = edt.edt(np.ascontiguousarray(membrane))
    grown = watershed(depth, cells, watershed_line=True)  # type: ignore[no-untyped-call]
    return np.asarray(grown)
