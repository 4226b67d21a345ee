"""Scores of a folder of label maps: tables, summary, pictures and a page."""

from collections.abc import Sequence
from pathlib import Path

from medseg.errors import InputError
from medseg.evaluation.pairs import CasePair, pair_files
from medseg.evaluation.settings import MetricSettings
from medseg.labels import LabelScheme
from medseg.progress import Progress, Silent
from medseg.reporting.page import write_page
from medseg.scoring.references import find_references
from medseg.scoring.report import evaluation_content, write_pictures
from medseg.scoring.result import Evaluation, score, write_evaluation
from medseg.scoring.viewer_pages import write_viewer_pages

__all__ = ["Evaluation", "evaluate", "score", "write_evaluation"]


def evaluate(
    predictions: Path,
    references: Path,
    out: Path | None,
    *,
    scheme: LabelScheme | None = None,
    objects: bool | None = None,
    only_predicted: bool = False,
    settings: MetricSettings | None = None,
    workers: int | None = None,
    pictures: int = 4,
    viewer: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores the label maps in a folder and writes what was found.

    Args:
        predictions: Folder of label maps, named after their cases.
        references: A data set in any understood layout, its label folder, or any
            folder of label maps.
        out: Gets ``cases.csv``, ``summary.csv``, ``summary.json`` and, where scored,
            ``lesions.csv``, ``lesions_by_size.csv``, ``objects.csv`` and
            ``objects_summary.csv``; further ``report.html``, ``mosaic.png``,
            ``pictures/`` and ``viewer/``. None writes nothing.
        scheme: What the values mean; wins over what the references say.
        objects: Whether values number single objects; None finds out, and says so.
        only_predicted: Leave out references without a prediction, which otherwise
            count as missed: the worst score.
        settings: What is measured.
        workers: Processes; None chooses.
        pictures: How many of the worst, of the middle and of the best cases are
            pictured.
        viewer: Whether each case gets a page to look at it in.
        progress: Shows progress and warnings.

    Raises:
        InputError: There are no predictions or references, none belong together, or
            none could be scored.
        OutputError: The folder cannot be written.
    """
    progress = progress or Silent()
    settings = settings or MetricSettings()
    found = find_references(
        references, predictions, scheme=scheme, objects=objects, progress=progress
    )
    settings.require_names(found.scheme)
    progress.say(f"references: {found.source}; labels {found.scheme.describe()}")
    pairing = pair_files(
        predictions,
        found.labels,
        patients=found.patients,
        unannotated=found.unannotated,
    )
    lone = tuple(path.name for path in pairing.lone_predictions)
    missing = () if only_predicted else pairing.missing
    _warn_of_lone_files(lone, pairing.missing, progress, only_predicted=only_predicted)
    evaluation = score(
        (*pairing.pairs, *missing),
        found.scheme,
        settings,
        workers=workers,
        progress=progress,
        unpaired_predictions=lone,
    )
    if out is not None:
        write_evaluation(out, evaluation)
    if evaluation.cases.empty:
        raise InputError(
            f"{predictions}: none of {len(evaluation.scored)} cases could be scored; "
            f"the first: {evaluation.failures[0]}"
        )
    if out is None:
        return evaluation
    drawn = write_pictures(
        out, evaluation, images=found.images, each=pictures, progress=progress
    )
    pages: dict[str, str] = {}
    if viewer:
        pages = write_viewer_pages(
            out, evaluation, images=found.images, workers=workers, progress=progress
        )
    content = evaluation_content(
        evaluation,
        title=f"Scores of {predictions.name}",
        subtitle=f"{evaluation.num_scored} cases; references: {found.source}",
        pictures=drawn,
        viewers=pages,
    )
    write_page(out / "report.html", content)
    return evaluation


def _warn_of_lone_files(
    predictions: Sequence[str],
    references: Sequence[CasePair],
    progress: Progress,
    *,
    only_predicted: bool,
) -> None:
    fate = (
        "are left out, as asked"
        if only_predicted
        else "count as missed, the worst score (--only-predicted leaves them out)"
    )
    for lone, what in (
        (predictions, "predictions without a reference are not scored"),
        (
            [pair.case_id for pair in references],
            f"references without a prediction {fate}",
        ),
    ):
        if lone:
            names = ", ".join(lone[:5]) + (", ..." if len(lone) > 5 else "")
            progress.warn(f"{len(lone)} {what}: {names}")
