"""Runs that belong together: trained in turn, reported on one page, tracked as one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from medseg.progress import Progress
from medseg.reporting.content import NamedTable
from medseg.reporting.page import write_page
from medseg.runs.config import RunConfig
from medseg.runs.finish import is_finished
from medseg.runs.fit_report import histories_of, sampling_stats_of
from medseg.runs.held_out import FOLDER, summary_metrics
from medseg.runs.time_spent import TimeSpent
from medseg.runs.tracked_facts import headline_scores, tags_of
from medseg.runs.train import train
from medseg.scoring.report import evaluation_content, write_pictures
from medseg.scoring.result import Evaluation
from medseg.store import Store
from medseg.studies.kept_runs import warn_of_other_settings
from medseg.tables import write_frame
from medseg.tracking.address import resolve_tracking_uri
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.logger import NullLogger, RunLogger

ARTIFACTS = (
    "cases.csv",
    "summary.csv",
    "lesions.csv",
    "lesions_by_size.csv",
    "objects.csv",
    "objects_summary.csv",
    "mosaic.png",
)


def on_store(config: RunConfig, store: Store, out: Path) -> RunConfig:
    """The configuration of every run: on prepared data, tracked where all are."""
    uri: str | None = resolve_tracking_uri(config.tracking.uri, folder=out)
    if uri == os.environ.get("MLFLOW_TRACKING_URI"):
        uri = None  # every run finds it there; it may hold a password
    tracking = config.tracking.replaced(uri=uri)
    return config.replaced(data=store.folder, root=None, tracking=tracking)


def open_parent(
    config: RunConfig, store: Store, out: Path, progress: Progress, stack: ExitStack
) -> RunLogger:
    """The tracked run that the others are nested under, until the stack unwinds."""
    if not config.tracking.enabled:
        return NullLogger()
    from medseg.tracking import open_mlflow_run

    logger = stack.enter_context(
        open_mlflow_run(
            tracking_uri=config.tracking.uri,
            experiment=config.tracking.experiment or store.plan.name,
            run_name=out.resolve().name,
            folder=out,
            resume=(out / "tracking").exists(),
            progress=progress,
        )
    )
    several = config.replaced(fold=None)
    logger.set_tags({**tags_of(several, store.plan), "fold": "several"})
    return logger


def train_runs(
    configs: Mapping[Path, RunConfig], out: Path, *, device: str, progress: Progress
) -> None:
    """Trains each run in turn; finished ones are kept and interrupted ones resumed.

    Args:
        configs: What to train in which folder.
        out: Folder of the tracked run that they are part of.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        MedsegError: Data or folder cannot be used, another process trains the same
            run, or training failed.
        KeyboardInterrupt: A signal ended a run; the same call continues.
    """
    for number, (run, config) in enumerate(configs.items(), start=1):
        if is_finished(run):
            warn_of_other_settings(run, config, progress)
            continue
        progress.say(f"\n{run.name}, {number} of {len(configs)}")
        trained = train(
            config,
            run,
            device=device,
            resume=(run / CHECKPOINT).exists(),
            parent_folder=out,
            progress=progress,
        )
        if trained.fit.interrupted:
            raise KeyboardInterrupt


def report_runs(
    out: Path,
    store: Store,
    evaluation: Evaluation,
    *,
    runs: Mapping[str, Path],
    subtitle: str,
    facts: Mapping[str, Mapping[str, str]] | None = None,
    tables: Sequence[NamedTable] = (),
    spent: TimeSpent,
    logger: RunLogger,
    progress: Progress,
) -> None:
    """Pictures, tables and the page with all of it, on disk and tracked.

    Args:
        out: Folder of the runs.
        store: Where the scans are found.
        evaluation: Scores of the cases that are shown.
        runs: Each run's folder, by the name it has on the page.
        subtitle: What was scored.
        facts: Further facts of the page.
        tables: Further tables of the page.
        spent: Where the time went so far; gets that of the pictures.
        logger: Told of scores and files.
        progress: Shows progress.

    Raises:
        OutputError: The folder cannot be written.
    """
    ids = [case.pair.case_id for case in evaluation.scored]
    images = {case_id: store.images(case_id) for case_id in ids}
    with spent.measure("pictures"):
        pictures = write_pictures(
            out / FOLDER, evaluation, images=images, progress=progress
        )
    named = [table for table in tables if table.file]
    for table in named:
        write_frame(out / FOLDER / table.file, table.table)
    content = evaluation_content(
        evaluation,
        title=f"{store.plan.name}: {out.resolve().name}",
        subtitle=subtitle,
        pictures=pictures,
        facts={
            "Data": {"manifest": store.manifest_hash},
            "Runs": {name: run.name for name, run in runs.items()},
            **(facts or {}),
        },
    )
    write_page(
        out / "report.html",
        replace(
            content,
            tables=tuple(tables),
            histories=histories_of(runs),
            sampling_stats=sampling_stats_of(runs),
            seconds=spent.seconds,
        ),
    )
    scores = headline_scores(evaluation) | summary_metrics(evaluation)
    logger.log_metrics(scores, step=0)
    for name in (*ARTIFACTS, *(table.file for table in named)):
        if (out / FOLDER / name).is_file():
            logger.log_artifact(out / FOLDER / name, folder=FOLDER)
    logger.log_artifact(out / "report.html")
