"""What a model keeps beside its weights, chosen on the cases that its run held out."""

from medseg.calibration.object_decoding import choose_decoding, start_decoding
from medseg.calibration.postprocessing import choose_postprocessing
from medseg.errors import MedsegError
from medseg.inference.predictor import Predictor
from medseg.instances.decoding_settings import DecodingSettings
from medseg.postprocessing import CleaningRule
from medseg.runs.setup import RunSetup
from medseg.scoring.result import Evaluation


def decoding_before_choice(run: RunSetup) -> DecodingSettings | None:
    """How single objects are found until it is chosen; None where none are learned.

    Raises:
        MedsegError: A label map cannot be read.
    """
    if run.plan.instance_target == "none":
        return None
    return start_decoding(run.store, run.train_ids)


def decoding_for_all(
    predictor: Predictor, run: RunSetup, *, start: DecodingSettings
) -> DecodingSettings:
    """How single objects are found; the first process chooses for all.

    Args:
        predictor: Of the trained network.
        run: Its held-out cases are looked at.
        start: What to begin with.

    Raises:
        LostProcessError: Another process of the same run ended.
        MedsegError: A case cannot be read.
    """
    chosen = start
    if run.ranks.leads:
        chosen = choose_decoding(
            predictor,
            run.store,
            run.held_out,
            start=start,
            thresholds=run.config.metrics.instance_thresholds,
            progress=run.progress,
        )
        run.progress.say(f"objects: {chosen.describe()} ({chosen.reason})")
    first: DecodingSettings = run.ranks.gather(chosen)[0]
    return first


def rules_that_help(
    evaluation: Evaluation, run: RunSetup
) -> tuple[CleaningRule, ...] | None:
    """Post-processing that helps on the held-out cases; None where none was sought."""
    if run.config.postprocessing == "none":
        return None
    pairs = [case.pair for case in evaluation.scored if not case.failure]
    try:
        return choose_postprocessing(pairs, run.plan.labels)
    except (MedsegError, OSError, MemoryError) as error:
        reason = error or "not enough memory"
        run.progress.warn(f"post-processing was not chosen: {reason}")
        return None
