"""Is one better than the other? Paired, case by case, corrected for many questions.

The unit is the patient: values of several cases of one patient are averaged first, so
that they do not count as independent evidence.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medseg.errors import DatasetError
from medseg.evaluation.bootstrap import mean_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PairedComparison:
    """Two variations on the same patients."""

    structure: str
    first: str
    second: str
    n: int
    """Patients with a value in both."""
    n_excluded: int
    """Patients left out, since the structure is absent there in one or both."""
    mean_difference: float
    """Mean of first minus second, in the metric's own unit."""
    ci_low: float
    ci_high: float
    p_value: float
    """Wilcoxon signed-rank test, two-sided; 1 when nothing differs."""
    p_holm: float
    """The same, corrected after Holm for all comparisons of the table."""
    rank_biserial: float
    """Effect size from −1 to 1; positive where the first is better."""
    cohen_dz: float
    """Mean difference over the standard deviation of the differences; positive where
    the first is better."""
    wins: int
    """Patients where the first is better by more than the tie margin."""
    ties: int
    losses: int


def paired_scores(
    tables: Mapping[str, pd.DataFrame], *, metric: str, structure: str
) -> pd.DataFrame:
    """One column per variation, one row per patient.

    Args:
        tables: Scores of each variation, a row per case and structure.
        metric: Column to compare.
        structure: Structure or region to compare.

    Raises:
        DatasetError: The variations were not scored on the same cases, or a case
            occurs twice.
    """
    import pandas as pd

    columns = {}
    for name, table in tables.items():
        part = table[table["structure"] == structure].set_index("case_id")
        if not part.index.is_unique:
            twice = part.index[part.index.duplicated()][0]
            raise DatasetError(f"{name}: case {twice} occurs twice for {structure}")
        columns[name] = part
    _require_equal_cases({name: set(part.index) for name, part in columns.items()})
    first = next(iter(columns.values()))
    wide = pd.DataFrame({n: p[metric].astype(float) for n, p in columns.items()})
    patients = first["patient_id"].reindex(wide.index)
    return wide.groupby(patients).mean()


def compare_pairs(
    scores: Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]],
    *,
    larger_is_better: bool = True,
    tie_margin: float = 0.0,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[PairedComparison]:
    """Every variation against every other, for every structure.

    Args:
        scores: For each structure, a column per variation and a row per patient, as
            `paired_scores` gives; or several such tables, with a pair or more each,
            where not all pairs have the same patients.
        larger_is_better: Which way wins, effect sizes and ranks count.
        tie_margin: Differences up to this size are ties.
        confidence: Level of the intervals of the mean difference.
        num_resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        One comparison per structure and pair; the p values are corrected together.
    """
    drafts = [
        _compare(
            wide[first],
            wide[second],
            structure,
            sign=1 if larger_is_better else -1,
            tie_margin=tie_margin,
            interval={
                "confidence": confidence,
                "num_resamples": num_resamples,
                "seed": seed,
            },
        )
        for structure, tables in scores.items()
        for wide in (tables if isinstance(tables, Sequence) else (tables,))
        for first, second in itertools.combinations(wide.columns, 2)
    ]
    corrected = holm([draft.p_value for draft in drafts])
    return [
        PairedComparison(**{**vars(draft), "p_holm": p})
        for draft, p in zip(drafts, corrected, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number after Holm, Scand J Stat 1979; NaN stays."""
    values = np.asarray(p_values, dtype=float)
    corrected = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in corrected]


def _compare(
    first: pd.Series,
    second: pd.Series,
    structure: str,
    *,
    sign: int,
    tie_margin: float,
    interval: Mapping[str, float],
) -> PairedComparison:
    difference = (first - second).to_numpy(dtype=float)
    known = difference[~np.isnan(difference)]
    gain = sign * known
    low, high = mean_interval(
        known,
        confidence=interval["confidence"],
        num_resamples=int(interval["num_resamples"]),
        seed=int(interval["seed"]),
    )
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return PairedComparison(
        structure=structure,
        first=str(first.name),
        second=str(second.name),
        n=len(known),
        n_excluded=len(difference) - len(known),
        mean_difference=float(known.mean()) if len(known) else math.nan,
        ci_low=low,
        ci_high=high,
        p_value=_wilcoxon(known),
        p_holm=math.nan,
        rank_biserial=_rank_biserial(gain),
        cohen_dz=float(gain.mean()) / spread if spread > 0 else math.nan,
        wins=int((gain > tie_margin).sum()),
        ties=int((np.abs(gain) <= tie_margin).sum()),
        losses=int((gain < -tie_margin).sum()),
    )


def _wilcoxon(difference: np.ndarray) -> float:
    """Two-sided p value; zero differences are split between both signs (zsplit)."""
    from scipy.stats import wilcoxon

    if not len(difference):
        return math.nan
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference, zero_method="zsplit").pvalue)


def _rank_biserial(gain: np.ndarray) -> float:
    """Rank sum of gains minus that of losses, over all ranks; Kerby 2014."""
    from scipy.stats import rankdata

    if not len(gain):
        return math.nan
    processes = rankdata(np.abs(gain))
    return float((np.sign(gain) * processes).sum() / processes.sum())


def _require_equal_cases(cases: Mapping[str, set[str]]) -> None:
    everything = set().union(*cases.values())
    for name, found in cases.items():
        if missing := sorted(everything - found):
            raise DatasetError(
                f"{name}: lacks {len(missing)} of {len(everything)} cases, such as "
                f"{missing[0]}; a paired comparison needs the same cases everywhere"
            )
