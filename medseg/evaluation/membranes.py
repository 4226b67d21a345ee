"""Scores of membrane probabilities by the cells that they enclose, as ISBI 2012 did.

At each threshold the membranes are thinned to lines of one pixel before cells are told
apart, so that a score does not depend on how thick membranes were drawn. The challenge
reports the best threshold, which flatters: it is chosen on the very slices it scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GridMismatchError
from medseg.evaluation.partitions import PartitionScores, cells_between, score_partition

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
