"""Several networks that predict together, alike but for their seed.

Deep ensembles (Lakshminarayanan et al., NeurIPS 2017): networks drawn and trained from
other seeds err in other places, so their mean errs less. All hold out the same fold: on
cases that none of them was trained on they are scored together, and there it is chosen
how single objects are cut from their mean. Its peaks are blunter than those of each, so
thresholds that were chosen for one network are too strict for all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.calibration.ensemble import (
    EnsembleCalibration,
    read_calibration,
    write_calibration,
)
from medseg.calibration.object_decoding import choose_decoding, start_decoding
from medseg.device import pick_device
from medseg.errors import MissingFileError, SettingsError
from medseg.files import hash_text
from medseg.folder_lock import one_at_a_time
from medseg.inference.predictor import Predictor
from medseg.instances.decoding_settings import DecodingSettings
from medseg.model import load_model
from medseg.prediction.ensemble import find_models, join_models
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.progress import Progress, Silent
from medseg.runs.calibrate import windows_on
from medseg.runs.config import RunConfig
from medseg.runs.data import open_data, split
from medseg.runs.finish import is_finished
from medseg.runs.held_out import (
    FOLDER,
    prediction_path,
    score_held_out,
    segment_held_out,
)
from medseg.runs.time_spent import TimeSpent, time_of
from medseg.runs.tracked_run import require_tracking
from medseg.scoring.result import Evaluation
from medseg.store import Store
from medseg.studies.nested_runs import on_store, open_parent, report_runs, train_runs
from medseg.training.process_group import ProcessGroup

LOCK = ".tracking.lock"
"""Held while calls that train side by side find or make the tracked run of all."""


@dataclass(frozen=True)
class TrainedEnsemble:
    """Result of `train_ensemble`.

    Attributes:
        folder: Holds a run per network; ``medseg predict`` takes them as one.
        runs: The networks' run folders.
        store: The prepared data.
        evaluation: Of the held-out cases, segmented by all networks together; None
            where some are still to be trained.
        spent: Where the time of all networks and of this went.
    """

    folder: Path
    runs: tuple[Path, ...]
    store: Store
    evaluation: Evaluation | None
    spent: TimeSpent


def train_ensemble(
    config: RunConfig,
    out: Path,
    *,
    networks: int,
    only: Sequence[int] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> TrainedEnsemble:
    """Trains networks with seeds one apart; then scores them together.

    Finished networks are kept and interrupted ones resumed, so a stopped call
    continues. Each network is a nested MLflow run.

    Args:
        config: The resolved configuration; its seed is the first network's.
        out: Folder of the networks' runs, their scores together and the report.
        networks: How many.
        only: Train these, counted from 0, and end there: for calls side by side, each
            with its share; a last call without it scores them together.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        SettingsError: The configuration is wrong, nothing is held out, or the folder
            holds other networks.
        MedsegError: Data or folder cannot be used, or training failed.
        KeyboardInterrupt: A signal ended a network; the same call continues.
    """
    progress = progress or Silent()
    if config.fold is None:
        raise SettingsError(
            "networks that predict together are scored on cases that none of them was "
            "trained on: name a fold to hold out"
        )
    if networks < 1:
        raise SettingsError(f"{networks} networks: expected at least 1")
    runs = tuple(out / f"network{number}" for number in range(networks))
    _refuse_others(out, runs)
    numbers = range(networks) if only is None else only
    if wrong := set(numbers) - set(range(networks)):
        raise SettingsError(f"network {min(wrong)}: there are 0 to {networks - 1}")
    where, spent = pick_device(device), TimeSpent()
    require_tracking(config, out)
    with spent.measure("preparing data"):
        store = open_data(config, out, device=where, progress=progress)
    split(store, config.fold)
    _refuse_other_cases(runs, config.fold, store)
    config = on_store(config, store, out)
    configs = {runs[number]: _seeded(config, number) for number in numbers}
    if only is not None:
        with (
            one_at_a_time(out / LOCK, doing="begins this study", progress=progress),
            ExitStack() as stack,
        ):
            open_parent(config, store, out, progress, stack)  # one for all calls
        train_runs(configs, out, device=device, progress=progress)
        progress.say("trained; the same call without a choice of networks scores all")
        return TrainedEnsemble(out, runs, store, None, spent)
    with ExitStack() as stack:
        logger = open_parent(config, store, out, progress, stack)
        train_runs(configs, out, device=device, progress=progress)
        spent.add(time_of(runs).seconds)
        evaluation, choice = _score_together(
            config, store, runs, out, device=where, spent=spent, progress=progress
        )
        report_runs(
            out,
            store,
            evaluation,
            runs={run.name: run for run in runs},
            subtitle=f"fold {config.fold} held out, segmented by {networks} networks "
            "together",
            facts={"Objects": {"found by": choice}} if choice else None,
            spent=spent,
            logger=logger,
            progress=progress,
        )
    progress.say(evaluation.to_text())
    return TrainedEnsemble(out, runs, store, evaluation, spent)


def _refuse_others(out: Path, runs: Sequence[Path]) -> None:
    """All models of a folder predict together, so there must be no further one.

    Raises:
        SettingsError: There is one.
    """
    try:
        found = find_models(out)
    except MissingFileError:
        return
    others = sorted(set(found) - {run / "model" for run in runs})
    if others:
        raise SettingsError(
            f"{others[0]}: is not of one of the {len(runs)} networks asked for; ask "
            "for as many as there are, or choose another folder"
        )


def _refuse_other_cases(runs: Sequence[Path], fold: int, store: Store) -> None:
    """Finished networks are kept, so they must have held out the cases to be scored.

    Raises:
        SettingsError: One was trained on other cases.
    """
    for run in filter(is_finished, runs):
        origin = load_model(run).provenance
        if (origin.fold, origin.dataset_hash) != (fold, store.manifest_hash):
            raise SettingsError(
                f"{run}: was trained on other cases (fold {origin.fold} held out, "
                f"data {origin.dataset_hash[:8]}; asked for: fold {fold}, data "
                f"{store.manifest_hash[:8]}); choose another folder"
            )


def _seeded(config: RunConfig, number: int) -> RunConfig:
    seed = config.training.seed + number
    training = config.training.replaced(seed=seed)
    return config.replaced(training=training)


def _score_together(
    config: RunConfig,
    store: Store,
    runs: Sequence[Path],
    out: Path,
    *,
    device: torch.device,
    spent: TimeSpent,
    progress: Progress,
) -> tuple[Evaluation, str]:
    """Scores of the held-out cases, and in words how objects were cut, if they were.

    What was chosen and segmented with the same weights, in the same way, is kept.
    """
    members = join_models(runs)
    model = SegmentationModel.of_members(
        members, device=str(device), settings=config.inference, progress=progress
    )
    held_out = split(store, config.fold)[1]
    choice = read_calibration(out)
    weights, made_by = members.combined.weights_sha256, _way(config, store)
    if choice is None or (choice.weights_sha256, choice.made_by) != (weights, made_by):
        predictor = model.predictor
        with spent.measure("calibrating windows"):
            windows = windows_on(predictor, store, held_out, progress=progress)
        model = model.calibrated(windows=windows, decoding=None)
        with spent.measure("choosing how objects are found"):
            decoding = _choose(model.predictor, config, store, progress)
        choice = EnsembleCalibration(
            weights_sha256=weights, made_by=made_by, decoding=decoding, windows=windows
        )
        with suppress(FileNotFoundError):
            shutil.rmtree(out / FOLDER)
        write_calibration(out, choice)
    model = model.calibrated(windows=choice.windows, decoding=choice.decoding)
    words = ""
    if choice.decoding is not None:
        words = f"{choice.decoding.describe()} ({choice.decoding.reason})"
        progress.say(f"objects, all networks together: {words}")
    segment_held_out(
        out,
        store,
        [case for case in held_out if not prediction_path(out, case).is_file()],
        model=model,
        processes=ProcessGroup(),
        spent=spent,
        progress=progress,
    )
    evaluation = score_held_out(
        out,
        store,
        held_out,
        scheme=members.combined.plan.labels,
        metrics=config.metrics,
        spent=spent,
        progress=progress,
    )
    return evaluation, words


def _way(config: RunConfig, store: Store) -> str:
    """All but the weights that decides how held-out cases are cut and segmented."""
    thresholds = config.metrics.instance_thresholds
    parts = (store.manifest_hash, config.fold, config.inference, thresholds)
    return hash_text("\n".join(map(str, parts)))


def _choose(
    predictor: Predictor, config: RunConfig, store: Store, progress: Progress
) -> DecodingSettings | None:
    """How all networks together find single objects, if they learned any."""
    if predictor.plan.instance_target == "none":
        return None
    train_ids, held_out = split(store, config.fold)
    return choose_decoding(
        predictor,
        store,
        held_out,
        start=start_decoding(store, train_ids),
        thresholds=config.metrics.instance_thresholds,
        progress=progress,
    )
