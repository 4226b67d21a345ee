"""Several losses, samplers or networks on the same cases: which is better, honestly?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.errors import DatasetError
from medseg.files import write_text
from medseg.folder_lock import lock_folder
from medseg.progress import Progress, Silent
from medseg.shipped_configs import find_config
from medseg.studies.comparison import (
    Comparison,
    compare_runs,
    log_comparison,
    nothing_compared,
    write_comparison,
)
from medseg.studies.comparison_page import PAGE, write_comparison_page
from medseg.studies.data import prepare_study
from medseg.studies.kept_runs import warn_of_other_settings
from medseg.studies.named_runs import facts_of_named, labels_of, scored_names
from medseg.studies.run_facts import (
    evidence_of,
    facts_of,
    smaller_is_better,
)
from medseg.studies.scores import study_tables
from medseg.studies.study import StudyChanges, StudyRun, StudySettings, read_study
from medseg.studies.study_run import is_finished, train_run
from medseg.training.logger import NullLogger, RunLogger


def compare(
    study_path: Path,
    out: Path,
    *,
    data: Path | None = None,
    root: Path | None = None,
    changes: StudyChanges | None = None,
    device: str = "auto",
    trained: bool = False,
    ray_address: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Trains what is missing of a study, then compares the variations case by case.

    Finished runs are kept and interrupted ones resumed, so a killed call continues.
    A run that fails stops no other; a pair of variations is compared on the folds and
    seeds that both finished. Every run is a nested MLflow run under the study's own.

    Args:
        study_path: YAML file of the study.
        out: The study's folder.
        data: Data set or prepared store; goes before the study's own.
        root: Folder that a manifest's paths start from.
        changes: Budget, folds and seeds in place of the study's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        trained: Train nothing: compare what has finished.
        ray_address: Train the runs side by side through Ray: ``local``, ``auto`` for
            the cluster at hand, or a cluster's address.
        progress: Shows progress.

    Raises:
        SettingsError: The study is wrong or a run of it does not fit the data, or Ray
            is asked for and not installed.
        DatasetError: Fewer than two variations finished, or on different cases.
        OutputError: Another call compares in the folder, or it cannot be written.
        KeyboardInterrupt: A signal ended a run; the same call continues.
    """
    progress = progress or Silent()
    study, runs = open_study(study_path, data=data, root=root, changes=changes)
    with lock_folder(out):
        text = find_config(study_path).read_text(encoding="utf-8")
        write_text(out / "study.yaml", text)
        if not trained and any(not is_finished(run, out) for run in runs):
            prepare_study(runs, out, device=device, progress=progress)
        for run in runs:
            if is_finished(run, out):
                folder = out / "runs" / run.name
                warn_of_other_settings(folder, run.config, progress)
        parent = open_parent(study, runs[0], out, progress)
        try:
            if trained:
                failures = _unfinished(runs, out)
            elif ray_address is not None:
                from medseg.studies.ray_runs import train_on_ray

                failures = train_on_ray(
                    runs, out, address=ray_address, device=device, progress=progress
                )
            else:
                failures = _train_all(runs, out, device, progress)
            comparison = _compared(study, runs, out, failures, parent, progress)
        except KeyboardInterrupt:
            parent.finish("KILLED")
            raise
        except BaseException:
            parent.finish("FAILED")
            raise
        parent.finish("FINISHED")
    return comparison


def _compared(
    study: StudySettings,
    runs: Sequence[StudyRun],
    out: Path,
    failures: dict[str, str],
    parent: RunLogger,
    progress: Progress,
) -> Comparison:
    """What finished, compared, written and tracked.

    Raises:
        DatasetError: Fewer than two variations finished; the page says of each run
            what became of it.
    """
    tables, remarks = study_tables(runs, out)
    facts = [
        facts_of(
            run.name,
            run.variation,
            out / "runs" / run.name,
            failure=failures.get(run.name, ""),
        )
        for run in runs
    ]
    try:
        comparison = compare_runs(
            tables,
            study.metrics,
            smaller_is_better=runs[0].config.metrics.smaller_is_better,
            failures=failures,
            remarks=remarks,
            evidence=evidence_of(facts),
        )
    except DatasetError as error:
        nothing = nothing_compared(failures, str(error))
        write_comparison_page(out, nothing, facts, {}, progress=progress)
        raise
    write_comparison(out, comparison)
    write_comparison_page(out, comparison, facts, tables, progress=progress)
    parent.log_artifact(out / "study.yaml")
    parent.log_artifact(out / PAGE)
    log_comparison(out, parent)
    return comparison


def compare_finished(
    runs: Sequence[tuple[str, str]],
    out: Path,
    *,
    metrics: Sequence[str] = ("dice",),
    tracking_uri: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compares runs that exist, without training.

    Args:
        runs: Name, and the run's folder or its id in MLflow; a name given several
            times stands for all of these runs together, such as the folds.
        out: Folder of the results.
        metrics: Columns of the runs' tables to compare.
        tracking_uri: Store that ids are looked up in; where there are ids, the
            comparison is kept there as a run of its own.
        progress: Shows progress.

    Raises:
        MissingFileError: Runs are not there or have no scores, and fewer than two
            names are left; else pairs are compared on the cases that both were
            scored on, and the missing runs named.
        DatasetError: Fewer than two names, or they were scored on different cases.
        OutputError: The folder cannot be written.
    """
    labels = labels_of(runs)
    tables, failures = scored_names(runs, labels, tracking_uri)
    facts = [
        facts_of_named(name, run, label, failures.get(label, ""), tracking_uri)
        for (name, run), label in zip(runs, labels, strict=True)
    ]
    comparison = compare_runs(
        tables,
        metrics,
        smaller_is_better=smaller_is_better(facts),
        failures=failures,
        evidence=evidence_of(facts),
        parts="cases",
    )
    write_comparison(out, comparison)
    write_comparison_page(out, comparison, facts, tables, progress=progress)
    ids = {run: name for name, run in runs if not Path(run).is_dir()}
    if ids:
        from medseg.tracking import find_tracking_uri, open_mlflow_run

        with open_mlflow_run(
            tracking_uri=find_tracking_uri(tracking_uri),
            experiment="comparisons",
            run_name=out.resolve().name,
            folder=out,
            progress=progress,
        ) as logger:
            logger.log_params({f"runs.{run}": name for run, name in ids.items()})
            log_comparison(out, logger)
    return comparison


def open_study(
    path: Path,
    *,
    data: Path | None = None,
    root: Path | None = None,
    changes: StudyChanges | None = None,
) -> tuple[StudySettings, list[StudyRun]]:
    """A study and its runs, on the data that was named last.

    Args:
        path: YAML file of the study.
        data: Data set or prepared store; goes before the study's own.
        root: Folder that a manifest's paths start from.
        changes: Budget, folds and seeds in place of the study's own.

    Raises:
        SettingsError: The study is wrong.
    """
    study, runs = read_study(path, changes)
    data, root = data or study.data, root or study.root
    return study, [run.with_data(data, root, name=study.name) for run in runs]


def open_parent(
    study: StudySettings, first: StudyRun, out: Path, progress: Progress
) -> RunLogger:
    """The tracked run that those of a study are nested under."""
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
    logger.set_tags(
        {
            "medseg.study": study.name,
            "mlflow.note.content": f"study {study.name}: {len(study.variations)} "
            f"variations, folds {_listed(study.folds)}, seeds {_listed(study.seeds)}",
            "mlflow.source.name": "medseg compare",
            "mlflow.source.type": "LOCAL",
        }
    )
    return logger


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _train_all(
    runs: Sequence[StudyRun],
    out: Path,
    device: str,
    progress: Progress,
) -> dict[str, str]:
    """Trains what has not finished; a run that fails does not stop the others."""
    failures = {}
    for number, run in enumerate(runs, start=1):
        if is_finished(run, out):
            continue
        progress.say(f"\nrun {number} of {len(runs)}: {run.name}")
        try:
            train_run(run, out, device=device, progress=progress)
        except Exception as error:  # noqa: BLE001 - of one run, whatever it is
            reason = str(error) or type(error).__name__
            failures[run.name] = reason
            progress.warn(f"{run.name}: failed: {reason}")
    return failures


def _unfinished(runs: Sequence[StudyRun], out: Path) -> dict[str, str]:
    return {run.name: "has not finished" for run in runs if not is_finished(run, out)}
