"""The parts of a run, put together around its state."""

from collections.abc import Sequence

import torch

from medseg.device import has_float64
from medseg.plan import Plan
from medseg.store.stored_case import StoredCase
from medseg.training.batches import BatchSource
from medseg.training.checkpointer import Checkpointer
from medseg.training.context import RunContext
from medseg.training.guard import LossGuard
from medseg.training.memory_fallback import OutOfMemoryFallback
from medseg.training.metric_log import MetricLog
from medseg.training.metrics_file import MetricsFile
from medseg.training.profile import Profile
from medseg.training.segmentation_loss import LossOnHost, segmentation_loss
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState
from medseg.training.trainer import Trainer
from medseg.training.training_steps import TrainingSteps
from medseg.training.validation_monitor import ValidationMonitor
from medseg.training.validation_schedule import ValidationSchedule

GPU_GUARD_STEPS = 20
"""Steps after which a GPU is asked for the losses; a CPU is asked at each step."""


def build_trainer(
    plan: Plan,
    settings: TrainingSettings,
    state: TrainingState,
    *,
    batches: BatchSource,
    validation_cases: Sequence[StoredCase],
    device: torch.device,
    context: RunContext,
    resume: bool,
    profile: bool,
) -> Trainer:
    """A run from its state on; `fit` says what the arguments are.

    Raises:
        OutputError: The run's folder cannot be written.
    """
    folder, is_main = context.folder, context.processes.is_main
    history = MetricsFile(
        folder / "metrics.csv" if is_main else None,
        resume_at=state.step if resume else None,
    )
    record = MetricLog(
        state,
        history,
        context.logger,
        batch_size=plan.batch_size,
        patches_per_epoch=batches.patches_per_epoch,
    )
    return Trainer(
        state=state,
        steps_taken=_stepping(plan, settings, state, batches, device, context),
        monitor=ValidationMonitor(
            validations=ValidationSchedule(
                validation_cases,
                largest_share=settings.validation_share,
                folder=folder,
                clock=settings.clock,
            ),
            plan=plan,
            settings=settings,
            state=state,
            batches=batches,
            device=device,
            record=record,
            progress=context.progress,
        ),
        checkpointer=Checkpointer(state, batches, context),
        record=record,
        profile=Profile(
            folder, wanted=profile and is_main, on_gpu=device.type == "cuda"
        ),
        watch=batches.watch,
        checkpoint_every=settings.checkpoint_every,
        clock=settings.clock,
    )


def _stepping(
    plan: Plan,
    settings: TrainingSettings,
    state: TrainingState,
    batches: BatchSource,
    device: torch.device,
    context: RunContext,
) -> TrainingSteps:
    loss = segmentation_loss(plan, settings).to(device)
    if not has_float64(device):
        loss = LossOnHost(loss.cpu())
        context.progress.say(f"{device} has no float64: the CPU computes the loss")
    return TrainingSteps(
        settings=settings,
        state=state,
        batches=batches,
        loss=loss,
        guard=LossGuard(
            every=1 if device.type == "cpu" else GPU_GUARD_STEPS,
            report=batches.report_loss,
        ),
        memory_fallback=OutOfMemoryFallback(settings, state.network),
        progress=context.progress,
    )
