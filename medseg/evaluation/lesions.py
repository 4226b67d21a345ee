"""Lesion by lesion: what was found, what was missed, what was invented.

A lesion is a connected component (26 neighbours in 3D, 8 in 2D) of the reference. Its
match is the union of all predicted components that share a voxel with it, so a lesion
predicted in two pieces is one hit and not a hit and a false positive. A predicted
component that shares no voxel with any lesion is a false positive.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GridMismatchError
from medseg.evaluation.overlap import OverlapCounts


@dataclass(frozen=True)
class Lesion:
    """One lesion of the reference and what the prediction made of it."""

    lesion_id: int
    """Number of the component, from 1."""
    volume_ml: float
    """Volume in the reference."""
    coverage: float
    """Share of its voxels that were predicted."""
    detected: bool
    """Whether the coverage suffices."""
    dice: float
    """Dice with its match; 0 for a lesion that was not detected."""


@dataclass(frozen=True)
class LesionScores:
    """The lesions of one scan and the predicted components that are none."""

    lesions: tuple[Lesion, ...]
    """All lesions of the reference."""
    false_positives_ml: tuple[float, ...]
    """Volume of each predicted component that touches no lesion."""

    @property
    def num_detected(self) -> int:
        """Number of lesions found."""
        return sum(lesion.detected for lesion in self.lesions)

    @property
    def sensitivity(self) -> float:
        """Share of lesions found; NaN where there are none."""
        return self.num_detected / len(self.lesions) if self.lesions else float("nan")

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) over lesions; NaN without lesions and findings."""
        missed = len(self.lesions) - self.num_detected
        total = 2 * self.num_detected + len(self.false_positives_ml) + missed
        return 2 * self.num_detected / total if total else float("nan")

    @property
    def lesionwise_dice(self) -> float:
        """Sum of the lesions' Dice over lesions plus false positives.

        As in the BraTS 2023 challenge, without its dilation of the reference; NaN
        without lesions and findings.
        """
        total = len(self.lesions) + len(self.false_positives_ml)
        return sum(le.dice for le in self.lesions) / total if total else float("nan")


def score_lesions(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    voxel_volume_mm3: float,
    coverage: float = 0.1,
    min_ml: float = 0.0,
) -> LesionScores:
    """Detection and Dice of every lesion of a reference mask.

    Args:
        prediction: Boolean mask, shape (I, J, K); K is 1 for a 2D image.
        reference: Boolean mask of the same shape.
        voxel_volume_mm3: Volume of one voxel.
        coverage: Share of a lesion that must be predicted for it to count as found;
            a single shared voxel is needed in any case.
        min_ml: Components below this volume are neither lesions nor false positives.

    Raises:
        GridMismatchError: The two shapes differ.
    """
    if prediction.shape != reference.shape:
        raise GridMismatchError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}"
        )
    lesions, lesion_sizes = _components(reference)
    findings, finding_sizes = _components(prediction)
    touch = _shared_voxels(lesions, findings)
    shared = np.bincount(touch.lesion, touch.voxels, len(lesion_sizes))
    matched = np.bincount(touch.lesion, finding_sizes[touch.finding], len(lesion_sizes))
    false = np.ones(len(finding_sizes), dtype=bool)
    false[touch.finding] = False
    voxel_ml = voxel_volume_mm3 / 1000
    kept = np.flatnonzero(lesion_sizes * voxel_ml >= min_ml)
    false_ml = finding_sizes[1:][false[1:]] * voxel_ml
    return LesionScores(
        lesions=tuple(
            _judge(
                int(number),
                OverlapCounts(
                    int(shared[number]), int(matched[number]), int(lesion_sizes[number])
                ),
                voxel_ml,
                coverage,
            )
            for number in kept[kept > 0]
        ),
        false_positives_ml=tuple(float(ml) for ml in false_ml if ml >= min_ml),
    )


def size_bin_names(edges_ml: Sequence[float]) -> tuple[str, ...]:
    """Names of the size bins between some borders, smallest first."""
    if not edges_ml:
        return ("all sizes",)
    inner = [f"{a:g} to {b:g} ml" for a, b in itertools.pairwise(edges_ml)]
    return (f"below {edges_ml[0]:g} ml", *inner, f"from {edges_ml[-1]:g} ml")


def size_bin_of(volume_ml: float, edges_ml: Sequence[float]) -> str:
    """Name of the size bin that a volume falls in; a border belongs to the larger."""
    position = int(np.searchsorted(edges_ml, volume_ml, side="right"))
    return size_bin_names(edges_ml)[position]


def _judge(
    lesion_id: int, counts: OverlapCounts, voxel_ml: float, coverage: float
) -> Lesion:
    detected = counts.shared > 0 and counts.sensitivity >= coverage
    return Lesion(
        lesion_id=lesion_id,
        volume_ml=counts.reference * voxel_ml,
        coverage=counts.sensitivity,
        detected=detected,
        dice=counts.dice if detected else 0.0,
    )


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Component numbers per voxel and the size of each; number 0 is background."""
    import cc3d

    flat = mask.shape[-1] == 1
    labelled = cc3d.connected_components(
        np.ascontiguousarray(mask[..., 0] if flat else mask),
        connectivity=8 if flat else 26,
    )
    labelled = labelled[..., None] if flat else labelled
    return labelled, np.bincount(labelled.ravel())


@dataclass(frozen=True)
class _Touch:
    """Pairs of a lesion and a finding that share voxels."""

    lesion: np.ndarray
    finding: np.ndarray
    voxels: np.ndarray


def _shared_voxels(lesions: np.ndarray, findings: np.ndarray) -> _Touch:
    both = (lesions > 0) & (findings > 0)
    span = int(findings.max(initial=0)) + 1
    pairs = lesions[both].astype(np.int64) * span + findings[both]
    unique, counts = np.unique(pairs, return_counts=True)
    return _Touch(unique // span, unique % span, counts)
