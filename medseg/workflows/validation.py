"""The held-out cases of a run: segmented from their own files, scored, pictured."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.io import read_volume, write_label_map
from medseg.plan import Plan
from medseg.preparation import Store
from medseg.progress import Progress

FOLDER = "validation"


def predict_held_out(
    out: Path,
    store: Store,
    case_ids: Sequence[str],
    *,
    network: nn.Module,
    plan: Plan,
    device: torch.device,
    settings: InferenceSettings,
    progress: Progress,
) -> dict[str, Path]:
    """Label maps of the held-out cases on their own grids, by case."""
    predictor = Predictor(network, plan, device, settings)
    written = {}
    for case_id in progress.track(case_ids, label="validating", total=len(case_ids)):
        files = store.images(case_id)
        volume = read_volume(files if len(files) > 1 else files[0])
        label_map = predictor.predict(volume, name=case_id)
        path = out / FOLDER / "predictions" / f"{case_id}.nii.gz"
        write_label_map(path, label_map)
        written[case_id] = path
    return written


def score_held_out(
    out: Path,
    store: Store,
    case_ids: Sequence[str],
    *,
    network: nn.Module,
    plan: Plan,
    device: torch.device,
    settings: InferenceSettings,
    logger: object,
    progress: Progress,
) -> dict[str, float]:
    """."""
    import numpy as np

    from medseg.evaluation import dice_per_label
    from medseg.io import read_label_map

    paths = predict_held_out(
        out, store, case_ids, network=network, plan=plan, device=device,
        settings=settings, progress=progress,
    )
    rows = []
    for case_id, path in paths.items():
        p = plan.labels.to_indices(read_label_map(path).voxels, name=case_id)
        r = plan.labels.to_indices(read_label_map(store.label(case_id)).voxels, name=case_id)
        rows.append(dice_per_label(p, r, num_classes=plan.labels.num_classes))
    mean = np.nanmean(np.array(rows), axis=0)
    dice = dict(zip(plan.labels.structures, mean.tolist(), strict=True))
    progress.say(f"held-out Dice {dice} mean {np.mean(mean):.4f}")
    return dice
