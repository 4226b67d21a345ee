"""Which cases to show when not all can be."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ChosenCase:
    """A case to show, and why."""

    case_id: str
    score: float
    reason: Literal["worst", "median", "best"]


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
    return [
        ChosenCase(case, known[case], chosen[case]) for case in ranked if case in chosen
    ]


def _middle(ranked: Sequence[str], count: int) -> Sequence[str]:
    start = max(0, (len(ranked) - count) // 2)
    return ranked[start : start + count]
