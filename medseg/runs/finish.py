"""What follows a fit: the model saved, held-out cases scored, all of it tracked."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from medseg.ancestry import TrainedOn
from medseg.device import describe_device
from medseg.files import hash_file
from medseg.instances.decoding_settings import DecodingSettings
from medseg.model import WEIGHTS, CalibratedWindows, Provenance, save_model
from medseg.postprocessing import CleaningRule, rules_in_words
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.reporting.content import NamedTable
from medseg.reporting.text import format_table
from medseg.runs.calibrate import (
    decoding_before_choice,
    decoding_of_run,
    rules_that_help,
    windows_of_run,
)
from medseg.runs.config import code_commit
from medseg.runs.fit_report import log_time
from medseg.runs.held_out import (
    FOLDER,
    REPORT,
    Presence,
    clean_held_out,
    dice_of_structures,
    presence_metrics,
    score_held_out,
    score_presence,
    segment_held_out,
    summary_metrics,
    write_report,
)
from medseg.runs.plausibility import ranges_of_run
from medseg.runs.setup import RunSetup
from medseg.runs.time_spent import FILE as TIMES
from medseg.runs.tracked_facts import (
    headline_scores,
    held_out_cases,
    tracked_model,
)
from medseg.runs.tracked_run import log_config, log_files
from medseg.scoring.result import Evaluation
from medseg.training.logger import RunTracker
from medseg.training.loop import FitResult
from medseg.training.process_group import ProcessGroup
from medseg.training_ranges import TrainingRanges


def finish_run(
    run: RunSetup, result: FitResult, logger: RunTracker
) -> Evaluation | None:
    """Saves the model; then scores the held-out cases, writes and tracks the report.

    The model is saved at once, and again with what its held-out cases taught.

    Args:
        run: What was settled before the fit.
        result: How training went.
        logger: Told of scores, times and files.

    Returns:
        Scores of the held-out cases; None where nothing was held out, the run was
        interrupted, or another process leads it.

    Raises:
        LostProcessError: Another process of the same run ended.
        MedsegError: A case cannot be used, or the run's folder cannot be written.
    """
    run.spent.add(
        {
            f"training: {part}": share * result.seconds
            for part, share in result.shares.items()
        }
    )
    origin = _origin(run, result)
    decoding = decoding_before_choice(run)
    if run.processes.is_main:
        before = _weights_in(run.out)
        _save(run, result, origin, decoding=decoding)
        if before not in ("", _weights_in(run.out)):
            _remove_scores(run)
    if result.interrupted:
        logger.finish("KILLED")
        run.progress.say("interrupted, not scored; --resume continues")
        return None
    model = _calibrated(run, result, origin, decoding)
    presence: Presence = {}
    if run.held_out:
        presence = segment_held_out(
            run.out,
            run.store,
            run.held_out,
            model=model,
            processes=run.processes,
            spent=run.spent,
            progress=run.progress,
        )
    if not run.processes.is_main:
        return None
    evaluation: Evaluation | None = None
    scores: dict[str, float] = {}
    if run.held_out:
        evaluation = _scores(run)
        asked = score_presence(run.out, evaluation, presence)
        evaluation = _finished(run, result, origin, model, evaluation, asked)
        scores = headline_scores(evaluation) | summary_metrics(evaluation)
        scores |= presence_metrics(asked)
    run.spent.write(run.out)
    logger.log_model(run.out / "model", tracked_model(run, steps=result.steps))
    if evaluation is not None:
        logger.log_scores(scores, step=0, dataset=held_out_cases(run))
    log_config(run.config, logger)
    log_files(run.out, run.config, logger)
    log_time(result, logger)
    return evaluation


def is_finished(folder: Path) -> bool:
    """Whether a run was trained, scored and reported; its times are written last."""
    return (folder / FOLDER / "cases.csv").is_file() and (folder / TIMES).is_file()


def _weights_in(folder: Path) -> str:
    """Hash of the weights that a run keeps; empty where there are none."""
    weights = folder / "model" / WEIGHTS
    return hash_file(weights) if weights.is_file() else ""


def _remove_scores(run: RunSetup) -> None:
    """Removes what an earlier end of a run says of its model, which is another now."""
    shutil.rmtree(run.out / FOLDER, ignore_errors=True)
    for name in (REPORT, TIMES):
        (run.out / name).unlink(missing_ok=True)
    run.progress.say(
        "the run went on: scores and report of its former weights were removed"
    )


def _origin(run: RunSetup, result: FitResult) -> Provenance:
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=code_commit(),
        dataset=run.plan.name,
        dataset_hash=run.store.manifest_hash,
        store_key=run.identity,
        fold=run.config.fold,
        num_training_cases=len(run.train_ids),
        num_validation_cases=len(run.held_out),
        steps=result.steps,
        seconds=result.seconds,
        device=describe_device(run.device) + _in_processes(run.processes),
        licence=run.store.licence,
        ancestors=() if run.parent is None else run.parent.record.ancestors,
        num_seen_before=run.num_seen_before,
    )


def _seen(run: RunSetup) -> TrainedOn:
    """The scans that the weights know: the run's own, and those of its parent."""
    images = run.store.image_hashes(run.train_ids)
    own = TrainedOn(images, complete=bool(images))
    return own if run.parent is None else own.joined(run.parent.seen)


def _averages_flips(run: RunSetup) -> bool:
    """Whether held-out cases are segmented with test-time flips."""
    return bool(run.config.inference.flips) and run.plan.can_mirror


def _in_processes(processes: ProcessGroup) -> str:
    return f" in {processes.size} processes" if processes.size > 1 else ""


def _save(
    run: RunSetup,
    result: FitResult,
    origin: Provenance,
    *,
    decoding: DecodingSettings | None = None,
    windows: CalibratedWindows | None = None,
    rules: tuple[CleaningRule, ...] = (),
    ranges: TrainingRanges | None = None,
) -> None:
    save_model(
        run.out / "model",
        result.network,
        run.plan,
        origin,
        postprocessing=rules,
        decoding=decoding,
        flips=_averages_flips(run),
        windows=windows,
        seen=_seen(run),
        ranges=ranges,
    )


def _calibrated(
    run: RunSetup,
    result: FitResult,
    origin: Provenance,
    decoding: DecodingSettings | None,
) -> SegmentationModel:
    """The saved model as `medseg predict` loads it, its calibration saved with it."""
    run.processes.gather(None)  # all wait until the first process has saved it
    model = SegmentationModel.load(
        run.out / "model",
        device=str(run.device),
        settings=run.config.inference,
        progress=run.progress,
    )
    with run.spent.measure("calibrating windows"):
        windows = windows_of_run(model.predictor, run)
    model = model.calibrated(windows=windows, decoding=decoding)
    if decoding is not None and run.held_out:
        with run.spent.measure("choosing how objects are found"):
            decoding = decoding_of_run(
                model.predictor, run, start=decoding, steps=result.steps
            )
        model = model.calibrated(windows=windows, decoding=decoding)
    if run.processes.is_main:
        ranges = None if run.held_out else _ranges(run)
        _save(run, result, origin, decoding=decoding, windows=windows, ranges=ranges)
    return model


def _ranges(run: RunSetup) -> TrainingRanges | None:
    """What later scans are compared with."""
    with run.spent.measure("training ranges"):
        return ranges_of_run(run)


def _finished(
    run: RunSetup,
    result: FitResult,
    origin: Provenance,
    model: SegmentationModel,
    evaluation: Evaluation,
    presence: NamedTable | None,
) -> Evaluation:
    """The final scores of the held-out cases, which model and report state, too.

    Post-processing that helps is applied to the label maps, which are scored again, so
    that what is scored is what `medseg predict` gives.
    """
    with run.spent.measure("choosing post-processing"):
        rules = rules_that_help(evaluation, run)
    if rules:
        clean_held_out(run.out, run.held_out, replace(model, rules=rules))
        evaluation = _scores(run)
    dice = dice_of_structures(evaluation)
    scored = origin.replaced(validation_dice=dice)
    ranges = _ranges(run)
    _save(
        run,
        result,
        scored,
        decoding=model.saved.decoding,
        windows=model.saved.windows,
        rules=rules or (),
        ranges=ranges,
    )
    write_report(
        run.out,
        run.store,
        evaluation,
        result,
        provenance=scored,
        rules=rules,
        ranges=ranges,
        tables=(presence,) if presence else (),
        spent=run.spent,
        progress=run.progress,
    )
    run.progress.say(evaluation.to_text())
    if presence is not None:
        run.progress.say(f"{presence.title}\n{format_table(presence.table)}")
    if rules is not None:
        run.progress.say(rules_in_words(rules))
    return evaluation


def _scores(run: RunSetup) -> Evaluation:
    return score_held_out(
        run.out,
        run.store,
        run.held_out,
        scheme=run.plan.labels,
        metrics=run.config.metrics,
        spent=run.spent,
        progress=run.progress,
    )
