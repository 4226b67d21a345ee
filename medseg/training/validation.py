"""Full-volume validation on the way: whole cases, not patches."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from medseg.evaluation.overlap import dice_per_label
from medseg.inference.predictor import Predictor
from medseg.store.stored_case import StoredCase


def validate(predictor: Predictor, cases: Iterable[StoredCase]) -> dict[str, float]:
    """Mean Dice of each structure over whole cases, as `mean_dice` has it."""
    structures = predictor.plan.targets.structures
    return mean_dice(dice_rows(predictor, cases), structures)


def dice_rows(predictor: Predictor, cases: Iterable[StoredCase]) -> list[np.ndarray]:
    """Dice of each structure of each case, on the prepared grid."""
    predictor = replace(predictor, network=predictor.network.eval())
    return [_dice_of(predictor, case) for case in cases]


def _dice_of(predictor: Predictor, case: StoredCase) -> np.ndarray:
    """Dice of each structure; NaN of those that the case does not annotate."""
    dice = dice_per_label(
        predictor.predict_prepared(case.read_image()),
        case.read_label(),
        num_classes=predictor.plan.targets.num_classes,
    )
    dice[[index - 1 for index in case.unannotated]] = np.nan
    return dice


def mean_dice(
    rows: Sequence[np.ndarray], structures: Sequence[str]
) -> dict[str, float]:
    """Mean Dice of each structure over cases.

    A structure that a case does not hold and that was not predicted does not count
    for that case, nor does one that the case does not annotate; one that was missed,
    or was invented, counts as 0.

    Returns:
        ``dice/<structure>`` for each structure and ``dice/mean`` over them; NaN where
        no case holds a structure.
    """
    table = np.asarray(rows, dtype=float)
    scores = {
        f"dice/{name}": _mean(table[:, column])
        for column, name in enumerate(structures)
    }
    scores["dice/mean"] = _mean(np.asarray(list(scores.values())))
    return scores


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
