"""Every fold held out in turn: each case is scored by a model that never saw it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import SettingsError
from medseg.evaluation.pairs import CasePair
from medseg.preparation import Store
from medseg.progress import Progress, Silent
from medseg.reporting.page import write_page
from medseg.tracking.address import resolve_tracking_uri
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.logger import NullLogger, RunLogger
from medseg.workflows.data import open_data
from medseg.workflows.device import pick_device
from medseg.workflows.evaluation_result import Evaluation, score, write_evaluation
from medseg.workflows.run_config import RunConfig
from medseg.workflows.scores_report import evaluation_content, write_pictures
from medseg.workflows.train import train
from medseg.workflows.validation import FOLDER, summary_metrics

ARTIFACTS = ("cases.csv", "summary.csv", "lesions.csv", "mosaic.png")


@dataclass(frozen=True)
class CrossValidation:
    """What `cross_validate` came to.

    Attributes:
        folder: Holds a run per fold; ``medseg predict`` takes them as an ensemble.
        runs: The folds' run folders.
        evaluation: Of all cases, each scored by the run that held it out.
    """

    folder: Path
    runs: tuple[Path, ...]
    evaluation: Evaluation


def cross_validate(
    config: RunConfig,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> CrossValidation:
    """Trains a run per fold and scores every case out of fold.

    Finished folds are kept and interrupted ones resumed, so a stopped call continues.
    Each fold is a nested MLflow run.

    Args:
        config: The resolved configuration of every fold.
        out: Folder of the folds' runs, the scores over all of them and the report.
        folds: Which folds; None takes all of the data set's.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        SettingsError: The configuration is wrong, or there is no such fold.
        MedsegError: Data or folder cannot be used, or training failed.
        KeyboardInterrupt: A signal ended a fold; the same call continues.
    """
    progress = progress or Silent()
    store = open_data(config, out, device=pick_device(device), progress=progress)
    chosen = tuple(sorted(set(store.folds.values())) if folds is None else folds)
    if missing := set(chosen) - set(store.folds.values()):
        raise SettingsError(f"fold {min(missing)}: the data set has no such fold")
    tracking = config.tracking.model_copy(
        update={"uri": resolve_tracking_uri(config.tracking.uri, folder=out)}
    )
    config = config.model_copy(
        update={"data": store.folder, "root": None, "tracking": tracking}
    )
    runs = tuple(out / f"fold{fold}" for fold in chosen)
    with ExitStack() as stack:
        logger = _open_parent(config, store, out, progress, stack)
        for number, (fold, run) in enumerate(zip(chosen, runs, strict=True), start=1):
            if (run / FOLDER / "cases.csv").is_file():
                continue
            progress.say(f"\nfold {fold}, {number} of {len(runs)}")
            trained = train(
                config.model_copy(update={"fold": fold}),
                run,
                device=device,
                resume=(run / CHECKPOINT).exists(),
                parent_folder=out,
                progress=progress,
            )
            if trained.fit.interrupted:
                raise KeyboardInterrupt
        evaluation = _score(store, chosen, runs, out, config, progress)
        logger.log_metrics(summary_metrics(evaluation), step=len(runs))
        for name in ARTIFACTS:
            if (out / FOLDER / name).is_file():
                logger.log_artifact(out / FOLDER / name, folder=FOLDER)
        logger.log_artifact(out / "report.html")
    progress.say(evaluation.to_text())
    return CrossValidation(out, runs, evaluation)


def _score(
    store: Store,
    folds: Sequence[int],
    runs: Sequence[Path],
    out: Path,
    config: RunConfig,
    progress: Progress,
) -> Evaluation:
    """Scores every case by the label map of the run that held it out."""
    pairs = [
        CasePair(
            case_id,
            run / FOLDER / "predictions" / f"{case_id}.nii.gz",
            store.label(case_id),
            store.patients[case_id],
        )
        for fold, run in zip(folds, runs, strict=True)
        for case_id in store.split(fold)[1]
    ]
    evaluation = score(pairs, store.plan.labels, config.metrics, progress=progress)
    write_evaluation(out / FOLDER, evaluation)
    pictures = write_pictures(
        out / FOLDER,
        evaluation,
        images={pair.case_id: store.images(pair.case_id) for pair in pairs},
        progress=progress,
    )
    content = evaluation_content(
        evaluation,
        title=f"{store.plan.name}: {out.resolve().name}",
        subtitle=f"{len(folds)} folds, every case scored by the model that held it out",
        pictures=pictures,
    )
    runs_as_facts = {
        f"fold {fold}": run.name for fold, run in zip(folds, runs, strict=True)
    }
    facts = {**content.facts, "Runs": runs_as_facts}
    write_page(out / "report.html", replace(content, facts=facts))
    return evaluation


def _open_parent(
    config: RunConfig,
    store: Store,
    out: Path,
    progress: Progress,
    stack: ExitStack,
) -> RunLogger:
    if not config.tracking.enabled:
        return NullLogger()
    from medseg.tracking import open_mlflow_run

    return stack.enter_context(
        open_mlflow_run(
            tracking_uri=config.tracking.uri,
            experiment=config.tracking.experiment or store.plan.name,
            run_name=out.resolve().name,
            folder=out,
            resume=(out / "tracking").exists(),
            progress=progress,
        )
    )
