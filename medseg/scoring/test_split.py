"""The cases that a data set's author holds out: predicted and scored, once, at the end.

They take no part in any choice: neither weights nor thresholds have seen them.
"""

from pathlib import Path

from medseg.datasets import Dataset
from medseg.errors import DatasetError
from medseg.evaluation.pairs import CasePair
from medseg.evaluation.settings import MetricSettings
from medseg.inference.settings import InferenceSettings
from medseg.prediction.predict import predict
from medseg.prediction.scan import Scan
from medseg.progress import Progress, Silent
from medseg.reporting.page import write_page
from medseg.scoring.report import evaluation_content, write_pictures
from medseg.scoring.result import Evaluation, score, write_evaluation
from medseg.scoring.viewer_pages import write_viewer_pages

LABEL_MAPS = "label_maps"
"""Where predictions go, below the folder of the test."""


def score_test_split(
    model_folder: Path,
    dataset: Dataset,
    out: Path,
    *,
    settings: InferenceSettings | None = None,
    metrics: MetricSettings | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Scores a model on a data set's test cases, as a user would segment them.

    Writes label maps, tables, pictures of the best, middle and worst, and a report.

    Args:
        model_folder: A model folder, a run or a folder of runs.
        dataset: Its test cases with a label map are scored.
        out: Where everything goes.
        settings: Windows, overlap and flips.
        metrics: What is measured.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        DatasetError: It has no test case with a label map.
        MedsegError: The model or a case cannot be used, or the folder not be written.
    """
    shown = progress or Silent()
    cases = [case for case in dataset.test_cases if case.label is not None]
    if not cases:
        raise DatasetError(
            f"{dataset.name}: no test case with a label map; say `test` in the split "
            "column of its table"
        )
    scans = [Scan.of_files(case.case_id, case.images) for case in cases]
    results = predict(
        model_folder,
        scans,
        out / LABEL_MAPS,
        device=device,
        settings=settings,
        progress=shown,
    )
    files = {result.scan: result.outputs[0] for result in results if result.outputs}
    pairs = [
        CasePair(
            case.case_id,
            out / LABEL_MAPS / files[case.case_id] if case.case_id in files else None,
            case.label,
            case.patient_id,
            case.unannotated,
        )
        for case in cases
        if case.label is not None
    ]
    evaluation = score(
        pairs, dataset.scheme, metrics or MetricSettings(), progress=shown
    )
    write_evaluation(out, evaluation)
    images = {case.case_id: case.images for case in cases}
    pictures = write_pictures(out, evaluation, images=images, progress=shown)
    content = evaluation_content(
        evaluation,
        title=f"{dataset.name}: test cases",
        subtitle=f"{len(pairs)} cases that took no part in any choice",
        pictures=pictures,
        viewers=write_viewer_pages(out, evaluation, images=images, progress=shown),
    )
    write_page(out / "report.html", content)
    return evaluation
