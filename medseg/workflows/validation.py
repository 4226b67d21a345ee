"""The held-out cases of a run: segmented from their own files, scored, pictured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.evaluation.pairs import CasePair
from medseg.evaluation.settings import MetricSettings
from medseg.inference.predictor import Predictor
from medseg.io import read_label_map, read_volume, write_label_map
from medseg.preparation import Store
from medseg.progress import Progress
from medseg.workflows.evaluate import Evaluation, score, write_evaluation

FOLDER = "validation"
"""Where a run keeps its held-out cases, below its folder."""

NUM_PICTURES = 4
"""Worst cases that are pictured."""


def validate_held_out(
    out: Path,
    store: Store,
    case_ids: Sequence[str],
    *,
    predictor: Predictor,
    metrics: MetricSettings,
    progress: Progress,
) -> Evaluation:
    """Segments and scores the held-out cases, each on its own grid.

    Writes label maps, tables and pictures of the worst cases to ``validation/`` below
    the run's folder.

    Raises:
        MedsegError: A case cannot be read, or the folder cannot be written.
    """
    folder = out / FOLDER
    predictions = {}
    for case_id in progress.track(case_ids, label="held-out cases"):
        path = folder / "predictions" / f"{case_id}.nii.gz"
        volume = read_volume(store.images(case_id))
        write_label_map(path, predictor.predict(volume, name=case_id))
        predictions[case_id] = path
    patients = store.patients
    pairs = [
        CasePair(case_id, path, store.label(case_id), patients[case_id])
        for case_id, path in predictions.items()
    ]
    evaluation = score(pairs, predictor.plan.labels, metrics, progress=progress)
    write_evaluation(folder, evaluation)
    _picture_worst(folder, store, predictions, evaluation, progress)
    return evaluation


def dice_of_structures(evaluation: Evaluation) -> dict[str, float]:
    """Mean Dice of each structure, and of all of them where there are several."""
    rows = evaluation.summary[evaluation.summary["metric"] == "dice"]
    return dict(zip(rows["structure"], rows["mean"].astype(float), strict=True))


def summary_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Every mean and interval of the summary, named like ``held_out/dice/liver``."""
    metrics: dict[str, float] = {}
    for row in evaluation.summary.to_dict(orient="records"):
        name = f"held_out/{row['metric']}/{row['structure']}"
        values = {"": row["mean"], "/low": row["ci_low"], "/high": row["ci_high"]}
        metrics |= {name + end: float(v) for end, v in values.items() if v == v}
    return metrics


def _picture_worst(
    folder: Path,
    store: Store,
    predictions: Mapping[str, Path],
    evaluation: Evaluation,
    progress: Progress,
) -> None:
    """Scan, prediction and reference of the cases with the lowest mean Dice."""
    from medseg.reporting.overlay import write_overlay

    dice = evaluation.cases.groupby("case_id")["dice"].mean().sort_values()
    worst = dice.dropna().head(NUM_PICTURES)
    for rank, (case_id, value) in enumerate(
        progress.track(list(worst.items()), label="pictures"), start=1
    ):
        name = str(case_id)
        write_overlay(
            folder / "pictures" / f"worst_{rank}_{name}.png",
            read_volume(store.images(name)),
            prediction=read_label_map(predictions[name]),
            reference=read_label_map(store.label(name)),
            scheme=evaluation.scheme,
            title=f"{name}: mean Dice {value:.3f}",
        )
