"""A training from start to end: build or resume, choose precision, train, report."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from medseg.device import use_device
from medseg.networks.transfer import InitialWeights
from medseg.plan import Plan
from medseg.progress import Progress
from medseg.sampling import SamplingStats
from medseg.store.stored_case import StoredCase
from medseg.training.batches import BatchSource
from medseg.training.checkpoint import load_checkpoint
from medseg.training.compilation import compile_if_faster, wants_compiling
from medseg.training.context import FitResult, Interruption, RunContext
from medseg.training.length import RunLength
from medseg.training.precision import choose_precision
from medseg.training.process_group import LostProcessError, ProcessGroup
from medseg.training.settings import TrainingSettings
from medseg.training.state import fresh_state
from medseg.training.step import require_finite_weights
from medseg.training.stopwatch import Utilisation
from medseg.training.trainer import Trainer, build_trainer


@contextmanager
def arithmetic(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Chooses algorithms for the length of a run, and gives the choice back.

    Args:
        device: Where the run is trained; a CPU repeats its results by itself.
        deterministic: Take algorithms that give the same bits each time, where a GPU
            has them, and let no clock choose among others; torch warns of an
            operation that has none.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    enforced = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # NVIDIA's own rule
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(enforced, warn_only=warned)


__all__ = ["FitResult", "RunContext", "fit"]


def fit(
    plan: Plan,
    settings: TrainingSettings,
    *,
    batches: BatchSource,
    validation_cases: Sequence[StoredCase],
    device: torch.device,
    length: RunLength,
    context: RunContext,
    initial: InitialWeights | None = None,
    resume: bool = False,
    profile: bool = False,
) -> FitResult:
    """Trains the plan's network until the length is reached or the run is stopped.

    On one device the result follows from the seed alone, and a resumed run of a
    number of steps ends with the weights of one that was never interrupted.

    Args:
        plan: What was decided about the data.
        settings: How to train.
        batches: Where patches come from.
        validation_cases: Cases looked at on the way, whole.
        device: Where to train.
        length: When the run ends.
        context: Folder, logger and progress.
        initial: Weights of a trained model to begin with; a resumed run has its own.
        resume: Continue from the run's checkpoint.
        profile: Write a trace of some steps to the run's folder.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite; names the cases.
        NonFiniteWeightsError: Weights did; the checkpoint before is kept.
        LostProcessError: Another process of the run ended; a checkpoint was written.
        TrainingError: The checkpoint cannot be continued.
        OutputError: The run's folder cannot be written.
    """
    use_device(device)
    folder, processes = context.folder, context.processes
    told = None if resume else context.progress
    initial = None if resume else initial
    state = fresh_state(plan, settings, device, told, initial=initial)
    if resume:
        state.restore(load_checkpoint(folder, identity=context.identity))
        require_finite_weights(state.network, step=state.step)
        batches.load_state_dict(state.batches, step=state.step)
    state.share_with(processes, device, in_parts=(settings.accumulate or 1) > 1)
    run = build_trainer(
        plan,
        settings,
        state,
        batches=batches,
        validation_cases=validation_cases,
        device=device,
        context=context,
        resume=resume,
        profile=profile,
    )
    with (
        arithmetic(device, deterministic=settings.deterministic),
        Interruption(folder, patient=processes.size > 1) as interruption,
        batches,
    ):
        if not resume and processes.is_main:
            interruption.clear()
        _make_ready(run, settings, device, context.progress, resume=resume)
        context.progress.say(
            f"training for {length.describe()} on {device}{_times(processes)}, "
            f"{state.precision}, from step {state.step}"
        )
        run.monitor.begin()
        utilisation = Utilisation(device, run.watch)
        stopped_by, sampling_stats = _train(
            run, length, interruption, utilisation, context.progress
        )
    return _result(run, stopped_by, sampling_stats, utilisation)


def _make_ready(
    run: Trainer,
    settings: TrainingSettings,
    device: torch.device,
    progress: Progress,
    *,
    resume: bool,
) -> None:
    """Chooses how steps are computed; a resumed run keeps its precision."""
    state, batches, loss = (
        run.state,
        run.training_steps.batches,
        run.training_steps.loss,
    )
    if not resume:
        choose_precision(
            state,
            batches.peek(),
            loss,
            wanted=settings.precision,
            watch=run.watch,
            progress=progress,
        )
    network = None
    if wants_compiling(settings, device):
        with run.watch.measure("compiling"):
            network = compile_if_faster(state, batches.peek(), loss, progress=progress)
    state.run_with(network or state.network)


def _train(
    run: Trainer,
    length: RunLength,
    interruption: Interruption,
    utilisation: Utilisation,
    progress: Progress,
) -> tuple[str, SamplingStats]:
    """Why the run ended early, if so, and what was sampled; a checkpoint is left."""
    try:
        with progress.meter(label="training") as meter, run.profile, utilisation:
            stopped_by = run.loop(length, interruption, meter)
        run.training_steps.guard.check()
        run.checkpointer.save()
        return stopped_by, run.training_steps.batches.whole_sampling_stats()
    except LostProcessError:
        run.checkpointer.rescue(run.training_steps.unfinished)
        raise


def _result(
    run: Trainer,
    stopped_by: str,
    sampling_stats: SamplingStats,
    utilisation: Utilisation,
) -> FitResult:
    return FitResult(
        network=run.state.validated_network.eval(),
        steps=run.state.step,
        seconds=run.state.seconds,
        best_dice=run.state.best_dice,
        stopped_by=stopped_by,
        shares=run.watch.shares(),
        precision=run.state.precision,
        sampling_stats=sampling_stats,
        alarms=tuple(run.monitor.alarms),
        utilisation=utilisation.share(),
    )


def _times(processes: ProcessGroup) -> str:
    return f" in {processes.size} processes" if processes.size > 1 else ""
