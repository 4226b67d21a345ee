"""What follows a fit: the model saved, held-out cases scored, all of it tracked."""

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from medseg.device import describe_device
from medseg.inference.predictor import Predictor
from medseg.instances.decoding_settings import DecodingSettings
from medseg.model import Provenance, save_model
from medseg.postprocessing import rules_in_words
from medseg.runs.calibrate import (
    decoding_before_choice,
    decoding_for_all,
    rules_that_help,
)
from medseg.runs.config import code_commit
from medseg.runs.fit_report import log_time
from medseg.runs.held_out import (
    FOLDER,
    dice_of_structures,
    score_held_out,
    segment_held_out,
    summary_metrics,
    write_report,
)
from medseg.runs.setup import RunSetup
from medseg.runs.time_spent import FILE as TIMES
from medseg.runs.tracked_run import log_files
from medseg.scoring.result import Evaluation
from medseg.training.logger import RunLogger
from medseg.training.loop import FitResult
from medseg.training.ranks import Ranks


def finish_run(
    run: RunSetup, result: FitResult, logger: RunLogger
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
    if run.ranks.leads:
        folder = run.out / "model"
        save_model(
            folder,
            result.network,
            run.plan,
            origin,
            decoding=decoding,
            flips=_averages_flips(run),
        )
    if result.interrupted:
        logger.finish("KILLED")
        run.progress.say("interrupted, not scored; --resume continues")
        return None
    if run.held_out:
        decoding = _segment(run, result, decoding)
    if not run.ranks.leads:
        return None
    evaluation = None
    if run.held_out:
        evaluation = _score(run, result, origin, decoding)
        logger.log_metrics(summary_metrics(evaluation), step=result.steps)
    run.spent.write(run.out)
    log_files(run.out, logger)
    log_time(result, logger)
    return evaluation


def is_finished(folder: Path) -> bool:
    """Whether a run was trained, scored and reported; its times are written last."""
    return (folder / FOLDER / "cases.csv").is_file() and (folder / TIMES).is_file()


def _origin(run: RunSetup, result: FitResult) -> Provenance:
    return Provenance(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=code_commit(),
        dataset=run.plan.name,
        dataset_hash=run.store.manifest_hash,
        store_key=run.identity,
        fold=run.config.fold,
        num_training_cases=len(run.train_ids),
        num_validation_cases=len(run.held_out),
        steps=result.steps,
        seconds=result.seconds,
        device=describe_device(run.device) + _in_processes(run.ranks),
    )


def _averages_flips(run: RunSetup) -> bool:
    """Whether held-out cases are segmented with mirror images averaged."""
    return bool(run.config.inference.flips) and run.plan.can_mirror


def _in_processes(ranks: Ranks) -> str:
    return f" in {ranks.size} processes" if ranks.size > 1 else ""


def _segment(
    run: RunSetup, result: FitResult, decoding: DecodingSettings | None
) -> DecodingSettings | None:
    """Segments the held-out cases; how single objects were found, if they were."""
    predictor = Predictor(result.network, run.plan, run.device, run.config.inference)
    if decoding is not None:
        with run.spent.measure("choosing how objects are found"):
            decoding = decoding_for_all(predictor, run, start=decoding)
        predictor = replace(predictor, decoding=decoding)
    segment_held_out(
        run.out,
        run.store,
        run.held_out,
        predictor=predictor,
        ranks=run.ranks,
        spent=run.spent,
        progress=run.progress,
    )
    return decoding


def _score(
    run: RunSetup,
    result: FitResult,
    origin: Provenance,
    decoding: DecodingSettings | None,
) -> Evaluation:
    """Scores the held-out cases; the model and the report say what came of it."""
    evaluation = score_held_out(
        run.out,
        run.store,
        run.held_out,
        scheme=run.plan.labels,
        metrics=run.config.metrics,
        spent=run.spent,
        progress=run.progress,
    )
    dice = dice_of_structures(evaluation)
    scored = origin.replaced(validation_dice=dice)
    with run.spent.measure("choosing post-processing"):
        rules = rules_that_help(evaluation, run)
    save_model(
        run.out / "model",
        result.network,
        run.plan,
        scored,
        postprocessing=rules or (),
        decoding=decoding,
        flips=_averages_flips(run),
    )
    write_report(
        run.out,
        run.store,
        evaluation,
        result,
        provenance=scored,
        rules=rules,
        spent=run.spent,
        progress=run.progress,
    )
    run.progress.say(evaluation.to_text())
    if rules is not None:
        run.progress.say(rules_in_words(rules))
    return evaluation
