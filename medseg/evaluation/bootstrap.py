"""Confidence intervals by resampling patients, not cases.

Two scans of one patient are no two independent scans: resampling cases as if they
were gives intervals that are too narrow.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np


def mean_interval(
    values: np.ndarray,
    *,
    groups: Sequence[object] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap confidence interval of a mean, bias-corrected and accelerated.

    Args:
        values: One number per case; NaN is left out.
        groups: Patient of each case; each case is its own when left out.
        confidence: Level of the interval.
        num_resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end. NaN with fewer than two patients; the plain percentile
        interval where the correction (BCa) is not defined.

    References:
        Efron, JASA 1987, doi:10.1080/01621459.1987.10478410.
    """
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)
    codes = np.arange(len(values)) if groups is None else _codes(groups)
    codes = np.unique(codes[known], return_inverse=True)[1]
    values = values[known]
    if codes.max(initial=0) < 1:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    sums = np.bincount(codes, weights=values)
    counts = np.bincount(codes).astype(float)
    low, high = _interval(sums, counts, "BCa", confidence, num_resamples, seed)
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = _interval(
            sums, counts, "percentile", confidence, num_resamples, seed
        )
    return low, high


def resampled_groups(
    groups: Sequence[object], *, num_resamples: int, seed: int
) -> np.ndarray:
    """How often each case is drawn in each resample of whole patients.

    Returns:
        Counts, shape (num_resamples, cases).
    """
    codes = _codes(groups)
    num_groups = int(codes.max(initial=-1)) + 1
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(
        num_groups, np.full(num_groups, 1 / num_groups), size=num_resamples
    )
    return np.asarray(drawn[:, codes])


def _interval(
    sums: np.ndarray,
    counts: np.ndarray,
    method: str,
    confidence: float,
    num_resamples: int,
    seed: int,
) -> tuple[float, float]:
    from scipy.stats import bootstrap

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a degenerate BCa is NaN, which is handled
        found = bootstrap(
            (sums, counts),
            _ratio_of_sums,
            paired=True,
            vectorized=True,
            n_resamples=num_resamples,
            confidence_level=confidence,
            method=method,
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


def _ratio_of_sums(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))


def _codes(groups: Sequence[object]) -> np.ndarray:
    return np.unique([str(group) for group in groups], return_inverse=True)[1]
