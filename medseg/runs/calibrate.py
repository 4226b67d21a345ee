"""What a model keeps beside its weights, calibrated on the cases that its run held out.

Windows first, then how single objects are found, as both decide what the held-out cases
are segmented with; post-processing last, by the scores of what was segmented.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from medseg.calibration.object_decoding import choose_decoding, start_decoding
from medseg.calibration.postprocessing import choose_postprocessing
from medseg.calibration.windows import calibrate_windows
from medseg.errors import MedsegError
from medseg.inference.predictor import Predictor
from medseg.instances.decoding_settings import DecodingSettings
from medseg.model import CalibratedWindows
from medseg.postprocessing import CleaningRule
from medseg.progress import Progress
from medseg.runs.setup import RunSetup
from medseg.scoring.result import Evaluation
from medseg.store import Store
from medseg.training.process_group import ProcessGroup
from medseg.types import ImageArray

T = TypeVar("T")


def decoding_before_choice(run: RunSetup) -> DecodingSettings | None:
    """How single objects are found until it is chosen; None where none are learned.

    Raises:
        MedsegError: A label map cannot be read.
    """
    if run.plan.instance_target == "none":
        return None
    return start_decoding(run.store, run.train_ids)


def windows_of_run(predictor: Predictor, run: RunSetup) -> CalibratedWindows | None:
    """Sliding windows for a run's network; the first process measures for all.

    Held-out cases are looked at, or those trained on where nothing was held out.

    Args:
        predictor: Of the trained network.
        run: The run.

    Raises:
        LostProcessError: Another process of the same run ended.
    """
    windows = None
    if run.processes.is_main:
        cases = run.held_out or run.train_ids
        windows = windows_on(predictor, run.store, cases, progress=run.progress)
    return _of_first(run.processes, windows)


def windows_on(
    predictor: Predictor, store: Store, cases: Sequence[str], *, progress: Progress
) -> CalibratedWindows | None:
    """Sliding windows that agree with the reference on prepared cases.

    None, which takes the reference, where the overlap is given, or where the network
    finds nothing in these cases.
    """
    settings = predictor.settings
    if settings.overlap != "auto" or settings.window_size is not None:
        return None
    windows = calibrate_windows(predictor, _images(store, cases))
    if windows is not None:
        progress.say(f"windows: {windows.describe()}")
    return windows


def decoding_of_run(
    predictor: Predictor, run: RunSetup, *, start: DecodingSettings, steps: int
) -> DecodingSettings:
    """How single objects are found; the first process chooses for all.

    Args:
        predictor: Of the trained network.
        run: Its held-out cases are looked at.
        start: What to begin with.
        steps: Of the training.

    Raises:
        LostProcessError: Another process of the same run ended.
        MedsegError: A case cannot be read.
    """
    chosen = start
    if run.processes.is_main:
        chosen = choose_decoding(
            predictor,
            run.store,
            run.held_out,
            start=start,
            thresholds=run.config.metrics.instance_thresholds,
            steps=steps,
            progress=run.progress,
        )
        run.progress.say(f"objects: {chosen.describe()} ({chosen.reason})")
    return _of_first(run.processes, chosen)


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


def _images(store: Store, cases: Sequence[str]) -> Iterator[ImageArray]:
    return (store.case(case_id).read_image() for case_id in cases)


def _of_first(processes: ProcessGroup, value: T) -> T:
    first: T = processes.gather(value)[0]
    return first
