"""Which variation is first, and would it be first on other patients?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medseg.evaluation.bootstrap import resampled_groups

if TYPE_CHECKING:
    import pandas as pd


def rank_variations(
    scores: pd.DataFrame,
    *,
    larger_is_better: bool = True,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Variations by their mean, with how stable that order is.

    Patients where any variation has no value are left out. Resampling whole patients
    gives the interval of each rank and how often a variation comes first, after
    Wiesenfarth et al., Sci Rep 2021, doi:10.1038/s41598-021-82017-6.

    Args:
        scores: A column per variation, a row per patient.
        larger_is_better: Which way is better.
        confidence: Level of the interval of ranks.
        num_resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        Columns variation, n (patients with a value in all), mean, rank, mean_rank
        (of the ranks within each patient), rank_low, rank_high, share_first and
        rank_agreement (Kendall's tau between the order and the resampled orders,
        averaged; the same in each row), best first.
    """
    import pandas as pd
    from scipy.stats import rankdata

    complete = scores.dropna()
    values = complete.to_numpy(dtype=float)
    gain = values if larger_is_better else -values
    processes = rankdata(-gain.mean(axis=0), method="min").astype(int)
    weights = resampled_groups(
        complete.index.tolist(), num_resamples=num_resamples, seed=seed
    )
    resampled = rankdata(-(weights @ gain), method="min", axis=1)
    tail = (1 - confidence) / 2
    table = pd.DataFrame(
        {
            "variation": [str(name) for name in scores.columns],
            "n": len(complete),
            "mean": values.mean(axis=0),
            "rank": processes,
            "mean_rank": rankdata(-gain, axis=1).mean(axis=0),
            "rank_low": np.quantile(resampled, tail, axis=0, method="lower"),
            "rank_high": np.quantile(resampled, 1 - tail, axis=0, method="higher"),
            "share_first": (resampled == 1).mean(axis=0),
            "rank_agreement": _agreement(processes, resampled),
        }
    )
    return table.sort_values(["rank", "variation"]).reset_index(drop=True)


def _agreement(processes: np.ndarray, resampled: np.ndarray) -> float:
    """Mean Kendall's tau-b between an order and many others, over pairs."""
    upper = np.triu_indices(len(processes), k=1)
    if not len(upper[0]):
        return 1.0
    signs = np.sign(processes[upper[0]] - processes[upper[1]])
    others = np.sign(resampled[:, upper[0]] - resampled[:, upper[1]])
    scale = np.sqrt(np.abs(signs).sum() * np.abs(others).sum(axis=1))
    agreement = others @ signs / np.where(scale > 0, scale, 1)
    return float(agreement.mean())
