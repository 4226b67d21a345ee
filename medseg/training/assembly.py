"""The parts of a run, put together around its state."""

from collections.abc import Sequence

import torch

from medseg.device import has_float64
from medseg.plan import Plan
from medseg.store.stored_case import StoredCase
from medseg.training.batches import BatchSource
from medseg.training.guard import LossGuard
from medseg.training.history import History
from medseg.training.lookout import Lookout
from medseg.training.looks import Looks
from medseg.training.memory import Thrift
from medseg.training.profile import Profile
from medseg.training.record import Record
from medseg.training.run import Run
from medseg.training.saving import Saving
from medseg.training.segmentation_loss import LossOnHost, segmentation_loss
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState
from medseg.training.stepping import Stepping
from medseg.training.surroundings import Surroundings

GPU_GUARD_STEPS = 20
"""Steps after which a GPU is asked for the losses; a CPU is asked at each step."""


def assemble_run(
    plan: Plan,
    settings: TrainingSettings,
    state: TrainingState,
    *,
    batches: BatchSource,
    validation_cases: Sequence[StoredCase],
    device: torch.device,
    surroundings: Surroundings,
    resume: bool,
    profile: bool,
) -> Run:
    """A run from its state on; `fit` says what the arguments are.

    Raises:
        OutputError: The run's folder cannot be written.
    """
    folder, leads = surroundings.folder, surroundings.ranks.leads
    history = History(
        folder / "metrics.csv" if leads else None,
        resume_at=state.step if resume else None,
    )
    record = Record(
        state,
        history,
        surroundings.logger,
        batch_size=plan.batch_size,
        patches_per_epoch=batches.patches_per_epoch,
    )
    return Run(
        state=state,
        stepping=_stepping(plan, settings, state, batches, device, surroundings),
        lookout=Lookout(
            looks=Looks(
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
            progress=surroundings.progress,
        ),
        saving=Saving(state, batches, surroundings),
        record=record,
        profile=Profile(folder, wanted=profile and leads, on_gpu=device.type == "cuda"),
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
    surroundings: Surroundings,
) -> Stepping:
    loss = segmentation_loss(plan, settings).to(device)
    if not has_float64(device):
        loss = LossOnHost(loss.cpu())
        surroundings.progress.say(f"{device} has no float64: the CPU computes the loss")
    return Stepping(
        settings=settings,
        state=state,
        batches=batches,
        loss=loss,
        guard=LossGuard(
            every=1 if device.type == "cpu" else GPU_GUARD_STEPS,
            report=batches.report_loss,
        ),
        thrift=Thrift(settings, state.network),
        progress=surroundings.progress,
    )
