"""Membranes of held-out slices, scored by the cells that they enclose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.evaluation.partitions import AT_ARGMAX, score_membranes
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.preparation.preprocessing import preprocess, preprocess_label
from medseg.reading import read_label_map, read_volume
from medseg.studies.cross_validate import CrossValidation

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("V_Rand", "V_Rand split", "V_Rand merge", "V_Info")


def score_held_out_membranes(
    result: CrossValidation, *, device: str = "auto"
) -> pd.DataFrame:
    """Scores of every held-out slice at every threshold, by the model that held it out.

    The probability is that of any structure; slices are compared as they were prepared
    for the network, which for pictures is as they are.

    Args:
        result: Of images whose structure is the membrane between cells.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.

    Returns:
        Columns case_id, threshold, V_Rand, V_Rand split, V_Rand merge, V_Info.
    """
    import pandas as pd

    rows = []
    for case_id, probability, membrane in _held_out(result, device):
        for found in score_membranes(probability, membrane):
            values = (
                found.scores.rand,
                found.scores.rand_split,
                found.scores.rand_merge,
                found.scores.information,
            )
            rows.append((case_id, found.threshold, *values))
    return pd.DataFrame(rows, columns=["case_id", "threshold", *SCORES])


def best_thresholds(slices: pd.DataFrame) -> pd.DataFrame:
    """Means over slices at the threshold of label maps, and where each score is best.

    Args:
        slices: As `score_held_out_membranes` gives.
    """
    import pandas as pd

    means = slices.groupby("threshold")[list(SCORES)].mean()
    chosen = {
        "argmax": AT_ARGMAX,
        "best V_Rand": means["V_Rand"].idxmax(),
        "best V_Info": means["V_Info"].idxmax(),
    }
    best = means.loc[list(chosen.values())].reset_index()
    best.insert(0, "threshold is", pd.Series(list(chosen)))
    return best


def _held_out(
    result: CrossValidation, device: str
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each slice's probability of membrane and its reference, both (I, J)."""
    store = result.store
    models: dict[Path, SegmentationModel] = {}
    for run, case_id in result.held_out():
        if run not in models:
            models[run] = SegmentationModel.load(run, device=device)
        predictor = models[run].predictor
        prepared = preprocess(
            read_volume(store.images(case_id)), predictor.plan, name=case_id
        )
        reference = preprocess_label(
            read_label_map(
                store.label(case_id),
                scheme=predictor.plan.labels,
                grid=prepared.placement.source,
            ),
            prepared.placement,
            predictor.plan,
            name=case_id,
        )
        shares = predictor.logits(prepared.image).softmax(dim=0)
        probability = 1 - shares[0].float().cpu().numpy()
        for k in range(reference.shape[2]):
            name = case_id if reference.shape[2] == 1 else f"{case_id}, slice {k}"
            yield name, probability[..., k], reference[..., k] > 0
