"""Several losses, samplers or networks on the same cases: which is better, honestly?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import DatasetError, MedsegError, MissingFileError
from medseg.evaluation.metrics import metric_named
from medseg.evaluation.ranking import rank_variations
from medseg.evaluation.statistics import compare_pairs, paired_scores
from medseg.files import atomic_write, write_text
from medseg.progress import Progress, Silent
from medseg.reporting.comparison import draw_comparison, format_comparison
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.logger import NullLogger, RunLogger
from medseg.workflows.study import StudyRun, StudySettings, read_study
from medseg.workflows.train import train

if TYPE_CHECKING:
    import pandas as pd

CASES = Path("validation") / "cases.csv"


@dataclass(frozen=True)
class Comparison:
    """What a study came to.

    Attributes:
        statistics: A row per metric, structure and pair of variations.
        ranking: A row per metric, structure and variation.
        failures: Runs that failed, each with its reason.
        text: The result for people.
    """

    statistics: pd.DataFrame
    ranking: pd.DataFrame
    failures: Mapping[str, str]
    text: str


def compare(
    study_path: Path,
    out: Path,
    *,
    data: Path | None = None,
    root: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Comparison:
    """Trains what is missing of a study, then compares the variations case by case.

    Finished runs are kept and interrupted ones resumed, so a killed call continues.
    Every run is a nested MLflow run under the study's own.

    Args:
        study_path: YAML file of the study.
        out: The study's folder.
        data: Data set or prepared store; goes before the study's own.
        root: Folder that a manifest's paths start from.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        SettingsError: The study is wrong.
        DatasetError: Fewer than two variations finished, or on different cases.
        OutputError: The folder cannot be written.
    """
    progress = progress or Silent()
    study, runs = read_study(study_path)
    runs = [
        run.with_data(data or study.data, root or study.root, name=study.name)
        for run in runs
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "study.yaml", study_path.read_text(encoding="utf-8"))
    parent = _open_parent(study, runs[0], out, progress)
    try:
        failures = _train_all(runs, out, device, progress)
        comparison = compare_runs(_tables(runs, out), study.metrics, failures=failures)
        write_comparison(out, comparison)
        for name in ("study.yaml", "statistics.csv", "ranking.csv", "summary.md"):
            parent.log_artifact(out / name)
        parent.log_artifact(out / "figures", folder="figures")
    except BaseException:
        parent.finish("FAILED")
        raise
    parent.finish("FINISHED")
    return comparison


def compare_runs(
    tables: Mapping[str, pd.DataFrame],
    metrics: Sequence[str],
    *,
    failures: Mapping[str, str] | None = None,
) -> Comparison:
    """Paired statistics of variations that were scored on the same cases.

    Args:
        tables: Scores of each variation, a row per case and structure; over several
            seeds a case's values are averaged before.
        metrics: Columns to compare.
        failures: Runs that are missing, to be said in the text.

    Raises:
        DatasetError: There are fewer than two variations, or they were scored on
            different cases.
    """
    import pandas as pd

    if len(tables) < 2:
        raise DatasetError(
            f"nothing to compare: {len(tables)} variations have finished, two or more "
            "are needed"
        )
    structures = list(next(iter(tables.values()))["structure"].unique())
    statistics, ranking = [], []
    for metric in metrics:
        larger = bool(metric_named(metric).larger_is_better)
        scores = {
            name: paired_scores(tables, metric=metric, structure=name)
            for name in structures
        }
        rows = compare_pairs(scores, larger_is_better=larger)
        statistics += [{"metric": metric, **asdict(row)} for row in rows]
        for structure, wide in scores.items():
            ranks = rank_variations(wide, larger_is_better=larger)
            ranking.append(ranks.assign(metric=metric, structure=structure))
    found = pd.DataFrame(statistics)
    ranks = pd.concat(ranking, ignore_index=True)
    text = format_comparison(found, ranks, failures=failures or {})
    return Comparison(found, ranks, failures or {}, text)


def read_run_tables(folders: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """Per-case tables of finished runs, by the name each is to be compared under.

    Raises:
        MissingFileError: A run has no table.
    """
    import pandas as pd

    tables = {}
    for name, folder in folders.items():
        if not (folder / CASES).is_file():
            raise MissingFileError(
                f"{folder}: no {CASES.as_posix()}; the run has not finished"
            )
        tables[name] = pd.read_csv(folder / CASES)
    return tables


def write_comparison(out: Path, comparison: Comparison) -> None:
    """Writes tables, summary and figures.

    Raises:
        OutputError: The folder cannot be written.
    """
    for name, table in (
        ("statistics.csv", comparison.statistics),
        ("ranking.csv", comparison.ranking),
    ):
        with atomic_write(out / name) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    write_text(out / "summary.md", comparison.text)
    for metric in comparison.statistics["metric"].unique():
        draw_comparison(
            out / "figures" / f"{metric}.png",
            comparison.statistics[comparison.statistics["metric"] == metric],
            comparison.ranking[comparison.ranking["metric"] == metric],
        )


def _open_parent(
    study: StudySettings, first: StudyRun, out: Path, progress: Progress
) -> RunLogger:
    tracking = first.config.tracking
    if not tracking.enabled:
        return NullLogger()
    from medseg.tracking import open_mlflow_run

    logger = open_mlflow_run(
        tracking_uri=tracking.uri,
        experiment=tracking.experiment or study.name,
        run_name=study.name,
        folder=out / "runs" / "study",
        resume=(out / "runs" / "study").exists(),
        progress=progress,
    )
    logger.set_tags({"medseg.study": study.name})
    return logger


def _train_all(
    runs: Sequence[StudyRun],
    out: Path,
    device: str,
    progress: Progress,
) -> dict[str, str]:
    """Trains what has not finished; a run that fails does not stop the others."""
    failures = {}
    for number, run in enumerate(runs, start=1):
        folder = out / "runs" / run.name
        if (folder / CASES).is_file():
            continue
        progress.say(f"\nrun {number} of {len(runs)}: {run.name}")
        try:
            train(
                run.config,
                folder,
                device=device,
                resume=(folder / CHECKPOINT).exists(),
                parent_folder=out / "runs" / "study",
                progress=progress,
            )
        except MedsegError as error:
            failures[run.name] = str(error)
            progress.warn(f"{run.name}: failed: {error}")
    return failures


def _tables(runs: Sequence[StudyRun], out: Path) -> dict[str, pd.DataFrame]:
    """Scores of each variation over all folds, averaged over seeds."""
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        path = out / "runs" / run.name / CASES
        if path.is_file():
            parts.setdefault(run.variation, []).append(pd.read_csv(path))
    keys = ["case_id", "patient_id", "structure"]
    return {
        name: pd.concat(tables)
        .groupby(keys, sort=False)
        .mean(numeric_only=True)
        .reset_index()
        for name, tables in parts.items()
    }
