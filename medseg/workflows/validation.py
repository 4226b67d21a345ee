"""The held-out cases of a run: segmented from their own files, then scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.evaluation.folder import score_pairs
from medseg.evaluation.pairs import CasePair
from medseg.evaluation.settings import MetricSettings
from medseg.evaluation.summary import OVERALL, summarize
from medseg.evaluation.tables import structure_table
from medseg.files import atomic_write
from medseg.inference.predictor import Predictor
from medseg.io import read_volume, write_label_map
from medseg.preparation import Store
from medseg.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "validation"
"""Where a run keeps its held-out cases, below its folder."""


@dataclass(frozen=True)
class Scores:
    """Scores of the held-out cases, on their own grids.

    Attributes:
        table: A row per case and structure.
        summary: A row per structure and metric: mean, interval, n, n_missed.
        predictions: Label map of each case.
        failures: Cases that could not be scored, each with its reason.
    """

    table: "pd.DataFrame"
    summary: "pd.DataFrame"
    predictions: Mapping[str, Path]
    failures: tuple[str, ...]

    def dice(self) -> dict[str, float]:
        """Mean Dice of each structure, and of all of them where there are several."""
        rows = self.summary[self.summary["metric"] == "dice"]
        return {str(r.structure): float(r.mean_) for r in _named(rows)}

    def lines(self) -> list[str]:
        """Dice of each structure with its interval, for people."""
        rows = self.summary[self.summary["metric"] == "dice"]
        return [
            f"{row.structure}: Dice {row.mean_:.4f} "
            f"[{row.ci_low:.4f}, {row.ci_high:.4f}], n = {row.n}"
            + (f", {row.n_missed} missed" if row.n_missed else "")
            for row in _named(rows)
        ]

    def metrics(self) -> dict[str, float]:
        """Every mean of the summary under a name such as ``held_out/dice/liver``."""
        return {
            f"held_out/{row.metric}/{row.structure}": float(row.mean_)
            for row in _named(self.summary)
            if row.mean_ == row.mean_
        }


def score_held_out(
    out: Path,
    store: Store,
    case_ids: Sequence[str],
    *,
    predictor: Predictor,
    metrics: MetricSettings,
    progress: Progress,
) -> Scores | None:
    """Segments and scores the held-out cases; None where nothing was held out.

    Writes ``validation/predictions/``, ``validation/cases.csv`` and
    ``validation/summary.csv`` below the run's folder.

    Raises:
        MedsegError: A case cannot be read, or the folder cannot be written.
    """
    if not case_ids:
        return None
    folder = out / FOLDER
    predictions = {}
    for case_id in progress.track(case_ids, label="held-out cases"):
        files = store.images(case_id)
        volume = read_volume(files if len(files) > 1 else files[0])
        path = folder / "predictions" / f"{case_id}.nii.gz"
        write_label_map(path, predictor.predict(volume, name=case_id))
        predictions[case_id] = path
    patients = store.patients
    pairs = [
        CasePair(case_id, path, store.label(case_id), patients[case_id])
        for case_id, path in predictions.items()
    ]
    scored = score_pairs(pairs, predictor.plan.labels, metrics, progress=progress)
    table = structure_table([row for case in scored for row in case.structures])
    regions = tuple(predictor.plan.labels.regions)
    summary = summarize(table, settings=metrics, overall=regions or None)
    for name, content in (("cases.csv", table), ("summary.csv", summary)):
        with atomic_write(folder / name) as temporary:
            content.to_csv(temporary, index=False, float_format="%.6g")
    failures = tuple(case.failure for case in scored if case.failure)
    return Scores(table, summary, predictions, failures)


def mean_dice(scores: Scores) -> float:
    """Dice averaged over structures, then cases."""
    dice = scores.dice()
    return dice.get(OVERALL, next(iter(dice.values())))


def _named(rows: "pd.DataFrame") -> "Sequence[pd.Series]":
    """Rows with attribute access; ``mean`` is a method of pandas, so it is renamed."""
    renamed = rows.rename(columns={"mean": "mean_"})
    return [row for _, row in renamed.iterrows()]
