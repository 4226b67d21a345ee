"""Scores of label maps, and runs compared."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from medseg.api.shown import ShowProgress, shown
from medseg.evaluation.settings import MetricSettings
from medseg.io import is_scan, write_label_map
from medseg.io.in_memory import AnyImage, open_label_map
from medseg.labels import LabelScheme
from medseg.reading import REMEMBERED, read_label_map, start_early
from medseg.runs.run import Run
from medseg.scoring import evaluate as scoring
from medseg.scoring.result import Evaluation
from medseg.settings import parse_settings
from medseg.studies import compare as comparing
from medseg.studies.comparison import Comparison
from medseg.studies.study import StudyChanges
from medseg.types import AnyPath


def evaluate(
    predictions: AnyImage | AnyPath,
    references: AnyImage | AnyPath,
    out: AnyPath | None = None,
    *,
    labels: LabelScheme | None = None,
    objects: bool | None = None,
    tolerance_mm: float = 1.0,
    lesions: Sequence[str] | Literal["all"] = (),
    only_predicted: bool = False,
    progress: ShowProgress = False,
) -> Evaluation:
    """Scores label maps against references: per case, per structure, with intervals.

    Args:
        predictions: A folder of label maps; or one label map, as a file or in memory
            (a `LabelMap`, (array, affine), an image of nibabel, SimpleITK or MONAI).
        references: A data set or a folder of label maps; or one label map.
        out: Folder for tables, pictures and a page; by default nothing is written.
        labels: What the values mean; wins over what the references say.
        objects: Whether values number single objects; found out by default.
        tolerance_mm: Of the surface Dice (NSD).
        lesions: Structures to score lesion by lesion too, or ``"all"``.
        only_predicted: Leave out references without a prediction, which else count as
            missed.
        progress: Show how far it is.

    Raises:
        InputError: There are no label maps, or none that belong together.
        OutputError: The folder cannot be written.

    Examples:
        >>> import medseg
        >>> truth = "tiny/labelsTr/tiny_000.nii.gz"
        >>> found = medseg.predict("runs/tiny", "tiny/imagesTr/tiny_000.nii.gz")
        >>> scores = medseg.evaluate(found, truth)
        >>> scores.cases["structure"].tolist()
        ['label_1', 'label_2']
        >>> scores.num_scored, scores.failed
        (1, False)
    """
    settings = parse_settings(
        MetricSettings,
        {"tolerance_mm": tolerance_mm, "lesions": lesions},
        source="evaluate",
    )
    told = shown(progress)
    if not (_is_folder(predictions) and _is_folder(references, or_table=True)):
        with TemporaryDirectory(prefix="medseg_pair_") as folder:
            pair = Path(folder)
            for part, kind in ((predictions, "prediction"), (references, "reference")):
                _put(part, pair / f"{kind}s", name=kind, labels=labels)
            return scoring.evaluate(
                pair / "predictions",
                pair / "references",
                None if out is None else Path(out),
                scheme=labels,
                objects=objects,
                settings=settings,
                progress=told,
            )
    start_early()
    with REMEMBERED.kept_in(Path(out)) if out is not None else nullcontext():
        return scoring.evaluate(
            Path(predictions),
            Path(references),
            None if out is None else Path(out),
            scheme=labels,
            objects=objects,
            only_predicted=only_predicted,
            settings=settings,
            progress=told,
        )


def compare(
    study: AnyPath | Mapping[str, AnyPath | Run | Sequence[AnyPath | Run]],
    out: AnyPath,
    *,
    data: AnyPath | None = None,
    root: AnyPath | None = None,
    budget: str | None = None,
    folds: Sequence[int] = (),
    seeds: Sequence[int] = (),
    metrics: Sequence[str] = ("dice",),
    tracking_uri: str | None = None,
    device: str = "auto",
    progress: ShowProgress = True,
) -> Comparison:
    """Which of several variations is better, patient by patient, with p values.

    Args:
        study: A YAML file of variations and folds, or the name of one that comes with
            medseg, to train and compare; or finished runs by name (folders or MLflow
            ids), several of a name, such as its folds, counting together.
        out: Folder of the runs and results.
        data: Data set of a study that is trained.
        root: Folder that a manifest's paths start from.
        budget: Time for each run that is trained; by default as in the study.
        folds: Held out in turn; by default as in the study.
        seeds: Each for every fold; by default as in the study.
        metrics: Of finished runs: what to compare.
        tracking_uri: Where MLflow ids are found.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Show how far it is.

    Raises:
        SettingsError: The study is wrong.
        DatasetError: Fewer than two variations, or scored on different cases.

    Examples:
        >>> import medseg
        >>> same = medseg.compare({"a": "runs/tiny", "b": "runs/tiny"}, "compared")
        >>> same.statistics["mean_difference"].tolist()
        [0.0, 0.0]
    """
    if isinstance(study, Mapping):
        named = [
            (name, str(_place(run)))
            for name, runs in study.items()
            for run in (runs if isinstance(runs, list | tuple) else [runs])
        ]
        return comparing.compare_finished(
            named,
            Path(out),
            metrics=metrics,
            tracking_uri=tracking_uri,
            progress=shown(progress),
        )
    return comparing.compare(
        Path(study),
        Path(out),
        data=None if data is None else Path(data),
        root=None if root is None else Path(root),
        changes=StudyChanges(budget, tuple(folds), tuple(seeds)),
        device=device,
        progress=shown(progress),
    )


def _place(run: object) -> object:
    return run.folder if isinstance(run, Run) else run


def _is_folder(source: object, *, or_table: bool = False) -> bool:
    """Whether a source is a path of many label maps; one that is not there is, too."""
    if not isinstance(source, str | PathLike):
        return False
    path = Path(source)
    return path.is_dir() or not path.exists() or (or_table and not is_scan(path))


def _put(
    source: AnyImage | AnyPath, folder: Path, *, name: str, labels: LabelScheme | None
) -> None:
    """One label map as the only file of a folder, in the values of the labels."""
    if isinstance(source, str | PathLike):
        label_map = read_label_map(Path(source), scheme=labels, allow_shear=True)
    else:
        label_map = open_label_map(source, name=name)
    write_label_map(folder / "case.nii.gz", label_map)
