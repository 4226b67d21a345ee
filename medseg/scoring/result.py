"""The scores of a set of cases: made, kept together, written as tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.evaluation.folder import ScoredCase, score_pairs
from medseg.evaluation.pairs import CasePair
from medseg.evaluation.settings import MetricSettings
from medseg.evaluation.summary import summarize, summarize_lesions, summarize_objects
from medseg.evaluation.tables import lesion_table, object_table, structure_table
from medseg.files import write_text
from medseg.labels import LabelScheme
from medseg.progress import Progress
from medseg.reporting.text import format_lesions, format_objects, format_summary
from medseg.tables import write_frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """The scores of a set of cases.

    Examples:
        >>> import medseg
        >>> labels = medseg.load_dataset("tiny").scheme
        >>> truth = "tiny/labelsTr/tiny_000.nii.gz"
        >>> scores = medseg.evaluate(truth, truth, labels=labels)
        >>> scores.cases.set_index("structure")["dice"].to_dict()
        {'ball': 1.0, 'kernel': 1.0}
    """

    scheme: LabelScheme
    settings: MetricSettings
    scored: tuple[ScoredCase, ...]
    """Every pair, in order, scored or failed."""
    unpaired_predictions: tuple[str, ...]
    """Files among the predictions that no reference belongs to."""
    cases: pd.DataFrame
    """A row per case and structure."""
    summary: pd.DataFrame
    """Mean, interval and counts per structure and metric."""
    lesions: pd.DataFrame
    """A row per lesion and false positive; empty unless asked for."""
    objects: pd.DataFrame
    """A row per image of single objects; empty unless values number objects."""

    def __repr__(self) -> str:
        """The summary, as on a terminal."""
        return self.to_text()

    @property
    def num_scored(self) -> int:
        """Number of pairs that were scored."""
        return sum(not case.failure for case in self.scored)

    @property
    def lesions_by_size(self) -> pd.DataFrame:
        """Lesions found, missed and invented, by structure and size."""
        return summarize_lesions(self.lesions, num_scans=self.num_scored)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why each failed pair could not be scored."""
        return tuple(case.failure for case in self.scored if case.failure)

    @property
    def without_prediction(self) -> tuple[str, ...]:
        """Cases that have no prediction; what their references hold was missed."""
        return tuple(
            case.pair.case_id for case in self.scored if case.pair.prediction is None
        )

    @property
    def failed(self) -> bool:
        """Whether any pair could not be scored, or any prediction is missing."""
        return bool(self.failures or self.without_prediction)

    def to_text(self) -> str:
        """The summary for a terminal."""
        parts = []
        if len(self.summary):
            confidence = self.settings.confidence
            parts.append(format_summary(self.summary, confidence=confidence))
        if len(self.lesions):
            parts.append(f"\n{format_lesions(self.lesions_by_size)}")
        if len(self.objects):
            objects = summarize_objects(self.objects, settings=self.settings)
            parts.append(f"\n{format_objects(objects)}")
        parts.append(
            f"{self.num_scored} cases scored, {len(self.failures)} failed, "
            f"{len(self.without_prediction)} without a prediction (all missed)"
        )
        return "\n".join(parts)


def score(
    pairs: Sequence[CasePair],
    scheme: LabelScheme,
    settings: MetricSettings,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    unpaired_predictions: tuple[str, ...] = (),
) -> Evaluation:
    """Scores pairs of label maps; writes nothing.

    Args:
        pairs: Label maps that belong together; one without a prediction scores as
            if it were empty.
        scheme: What the values mean.
        settings: What is measured.
        workers: Processes; None chooses.
        progress: Shows progress and warnings.
        unpaired_predictions: To be kept with the result.
    """
    scored = score_pairs(pairs, scheme, settings, workers=workers, progress=progress)
    rows = [row for case in scored for row in case.structures]
    table = structure_table(rows)
    overall = list(scheme.regions) or list(scheme.structures)
    return Evaluation(
        scheme=scheme,
        settings=settings,
        scored=tuple(scored),
        unpaired_predictions=unpaired_predictions,
        cases=table,
        summary=summarize(table, settings=settings, overall=overall),
        lesions=lesion_table(rows, edges_ml=settings.lesion_size_edges_ml),
        objects=object_table(scored),
    )


def write_evaluation(out: Path, evaluation: Evaluation) -> None:
    """Writes the tables and the summary of an evaluation.

    Raises:
        OutputError: The folder cannot be written.
    """
    tables = {"cases.csv": evaluation.cases, "summary.csv": evaluation.summary}
    if len(evaluation.lesions):
        tables["lesions.csv"] = evaluation.lesions
        tables["lesions_by_size.csv"] = evaluation.lesions_by_size
    if len(evaluation.objects):
        tables["objects.csv"] = evaluation.objects
        tables["objects_summary.csv"] = summarize_objects(
            evaluation.objects, settings=evaluation.settings
        )
    for name, table in tables.items():
        write_frame(out / name, table)
    write_text(out / "summary.json", _to_json(evaluation))


def _to_json(evaluation: Evaluation) -> str:
    """Everything but the cases, with the choices behind the numbers."""
    content = {
        "settings": evaluation.settings.model_dump(mode="json"),
        "labels": evaluation.scheme.model_dump(mode="json"),
        "num_scored": evaluation.num_scored,
        "failures": list(evaluation.failures),
        "unpaired_predictions": list(evaluation.unpaired_predictions),
        "without_prediction": list(evaluation.without_prediction),
        "summary": [
            {key: _plain(value) for key, value in row.items()}
            for row in evaluation.summary.to_dict(orient="records")
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON knows neither NaN nor infinity
    return value
