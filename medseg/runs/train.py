"""Trains one model: data in, a scored, tracked run folder out."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from medseg.calibration.ensemble import FILE as CHOICE
from medseg.device import pick_device
from medseg.errors import SettingsError
from medseg.folder_lock import lock_folder
from medseg.progress import Progress, Silent
from medseg.runs.config import RunConfig
from medseg.runs.finish import finish_run
from medseg.runs.fit import fit_run
from medseg.runs.fit_report import report_fit
from medseg.runs.setup import RunSetup, allow_plugins, set_up_run, write_setup
from medseg.runs.time_estimate import estimate_time
from medseg.runs.tracked_run import require_tracking, tracked_run
from medseg.scoring.result import Evaluation
from medseg.store import Store
from medseg.training.checkpoint import CHECKPOINT, load_checkpoint
from medseg.training.loop import FitResult
from medseg.training.process_group import ProcessGroup, join_processes


@dataclass(frozen=True)
class TrainedRun:
    """Result of `train`.

    Attributes:
        folder: The run's folder.
        store: The prepared data.
        fit: How training went.
        evaluation: Of the held-out cases; None where nothing was held out, or the run
            was interrupted.
    """

    folder: Path
    store: Store
    fit: FitResult
    evaluation: Evaluation | None


def train(
    config: RunConfig,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    profile: bool = False,
    parent_folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainedRun:
    """Prepares the data if need be, trains, scores the held-out cases, tracks it all.

    Args:
        config: The resolved configuration; `data` must be set.
        out: The run's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        resume: Continue the run in the folder; one that has no checkpoint yet starts
            from the beginning.
        profile: Write a trace of some steps to ``profile/`` in the folder.
        parent_folder: Folder of the tracked study that the run is part of.
        progress: Shows progress.

    Raises:
        SettingsError: The configuration is wrong, or the folder holds another run.
        LostProcessError: Another process of the same run ended.
        OutputError: Another call trains the same run, or the folder cannot be written.
        TrainingError: The folder's checkpoint belongs to other data or settings.
        MedsegError: Data or folder cannot be used, or training failed.
    """
    where = pick_device(device)
    allow_plugins(config)
    require_tracking(config, out)
    if not resume and (out / CHECKPOINT).exists():
        raise SettingsError(
            f"{out}: holds a run already; add --resume to continue it, or choose "
            "another folder"
        )
    if (out / CHOICE).exists():
        raise SettingsError(
            f"{out}: holds networks that predict together; continue them with as many "
            "--networks as there are, or choose another folder"
        )
    with join_processes(where) as processes:
        return _train(
            config,
            out,
            device=where,
            resume=resume,
            profile=profile,
            parent_folder=parent_folder,
            processes=processes,
            progress=progress if progress and processes.is_main else Silent(),
        )


def _train(
    config: RunConfig,
    out: Path,
    *,
    device: torch.device,
    resume: bool,
    profile: bool,
    parent_folder: Path | None,
    processes: ProcessGroup,
    progress: Progress,
) -> TrainedRun:
    """The run, alone or as one of several processes; the first of them writes."""
    run = set_up_run(config, out, device=device, processes=processes, progress=progress)
    with ExitStack() as stack:
        if processes.is_main:
            stack.enter_context(lock_folder(out))
        continues = resume and (out / CHECKPOINT).exists()
        if continues:  # refused before anything that the folder holds is replaced
            load_checkpoint(out, identity=run.identity)
        elif resume:
            progress.say(f"{out}: no checkpoint yet, so training starts from step 0")
        write_setup(run)
        _announce(run)
        logger = stack.enter_context(
            tracked_run(
                run,
                run.config if processes.is_main else _untracked(run.config),
                ancestors=() if run.parent is None else run.parent.record.ancestors,
                resume=resume,
                parent_folder=parent_folder,
                progress=progress,
            )
        )
        result = fit_run(run, logger, resume=continues, profile=profile)
        report_fit(result, progress)
        evaluation = finish_run(run, result, logger)
    return TrainedRun(out, run.store, result, evaluation)


def _announce(run: RunSetup) -> None:
    """Says how long all of the run will take, where somebody listens."""
    if isinstance(run.progress, Silent) or not (estimate := estimate_time(run)):
        return
    budget = run.settings.budget if run.settings.clock == "wall" else None
    run.progress.say(f"time: {estimate.describe(budget, now=datetime.now())}")


def _untracked(config: RunConfig) -> RunConfig:
    off = config.tracking.replaced(enabled=False, loggers=())
    return config.replaced(tracking=off)
