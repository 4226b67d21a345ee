"""Which cases to show when not all can be."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class ChosenCase:
    """A case to show, and why."""

    case_id: str
    score: float
    reason: Literal["worst", "median", "best"]
    is_outlier: bool = False
    """Whether its score lies far below those of the others."""


def choose_cases(scores: Mapping[str, float], *, each: int = 3) -> list[ChosenCase]:
    """The worst, the middle and the best cases, sorted from worst to best.

    Args:
        scores: Score of each case, larger is better; cases without a score (NaN) are
            passed over.
        each: Number of cases of each kind; where there are fewer cases than three
            times that, all are shown once; 0 for none.
    """
    if each < 1:
        return []
    known = {case: score for case, score in scores.items() if not math.isnan(score)}
    ranked = sorted(known, key=lambda case: (known[case], case))
    chosen: dict[str, Literal["worst", "median", "best"]] = {}
    chosen.update(dict.fromkeys(_middle(ranked, each), "median"))
    chosen.update(dict.fromkeys(ranked[-each:], "best"))
    chosen.update(dict.fromkeys(ranked[:each], "worst"))
    fence = lower_fence(list(known.values()))
    return [
        ChosenCase(case, known[case], chosen[case], known[case] < fence)
        for case in ranked
        if case in chosen
    ]


def lower_fence(scores: Sequence[float]) -> float:
    """Scores below are outliers: 1.5 quartile distances below the first quartile.

    Tukey, Exploratory Data Analysis, 1977. With fewer than five scores none is.
    """
    if len(scores) < 5:
        return -math.inf
    first, third = np.percentile(scores, [25, 75])
    return float(first - 1.5 * (third - first))


def _middle(ranked: Sequence[str], count: int) -> Sequence[str]:
    start = max(0, (len(ranked) - count) // 2)
    return ranked[start : start + count]
