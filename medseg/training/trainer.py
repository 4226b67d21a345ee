"""The training loop of a run: steps, validations and checkpoints."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medseg.device import has_float64, is_out_of_memory
from medseg.errors import TrainingError
from medseg.losses.plugin_loss import PluginLoss
from medseg.networks.network import SegmentationNetwork
from medseg.plan import Plan
from medseg.progress import Meter, Progress
from medseg.store.stored_case import StoredCase
from medseg.training.batches import Batch, BatchSource
from medseg.training.checkpoint import Checkpointer
from medseg.training.context import Interruption, MetricLog, MetricsFile, RunContext
from medseg.training.length import Clock, RunLength, seconds_on
from medseg.training.parts import FrozenEncoder, build_schedule, parts_of
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState
from medseg.training.step import (
    LossGuard,
    LossOnHost,
    OutOfMemoryFallback,
    segmentation_loss,
    training_step,
)
from medseg.training.stopwatch import Profile, Stopwatch
from medseg.training.validation import ValidationMonitor, ValidationSchedule, shorten


@dataclass(kw_only=True)
class TrainingSteps:
    """Takes one step after the other."""

    settings: TrainingSettings
    state: TrainingState
    batches: BatchSource
    loss: nn.Module
    guard: LossGuard
    memory_fallback: OutOfMemoryFallback
    progress: Progress
    frozen: FrozenEncoder | None = None
    """What stays as it is at the beginning; None: nothing."""
    last_loss: Tensor | float = float("nan")
    """Of the last step, on its device."""
    unfinished: dict[str, Any] | None = None
    """State of the sampler before the step that is being taken with others."""

    def __post_init__(self) -> None:
        """Finds the schedule once."""
        self._factor = build_schedule(self.settings.schedule)

    def take(self, done: float) -> None:
        """Takes the next step, in parts where memory ends.

        Args:
            done: Share of the run that is over, which the learning rate follows.

        Raises:
            NonFiniteLossError: The loss became NaN or infinite.
            LostProcessError: Another process of the run ended.
            TrainingError: A single patch does not fit into memory.
        """
        if self.frozen is not None:
            self.frozen.follow(done)
        if self.state.processes.size > 1:
            self.unfinished = self.batches.sampler_state()
        batch, loss = self._next_batch(), None
        while loss is None:
            loss = self._try(batch, done)
            if loss is None:
                self._relieve()
        self.unfinished = None
        self.guard.add(loss, step=self.state.step, case_ids=batch.case_ids)
        self.last_loss = loss

    def learning_rate(self, done: float) -> float:
        """The rate at a share of the run."""
        return self._factor(done) * self.settings.optimizer.learning_rate

    def _next_batch(self) -> Batch:
        """The next batch; where memory ends over it, steps are made smaller first."""
        while True:
            try:
                return self.batches.next()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._refuse_among_others(error)
                self._relieve()
                self.batches.restart()

    def _relieve(self) -> None:
        patches = self.batches.patches_per_step
        relief = self.memory_fallback.relieve(self.state.network, patches=patches)
        self.progress.warn(f"memory ended: from now on {relief}")

    def _try(self, batch: Batch, done: float) -> Tensor | None:
        """The loss of a step; None where memory ended before it was taken."""
        try:
            return training_step(
                self.state,
                batch,
                self.loss,
                learning_rate=self.learning_rate(done),
                gradient_clip=self.settings.gradient_clip,
                accumulate=self.memory_fallback.parts,
                watch=self.batches.watch,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._refuse_among_others(error)
            return None

    def _refuse_among_others(self, error: BaseException) -> None:
        """Ends a run of several processes, which must go on alike."""
        if self.state.processes.size == 1:
            return
        parts = 2 * self.memory_fallback.parts
        raise TrainingError(
            f"memory ended; set training.accumulate={parts} "
            "or more, or training.recompute=true, and --resume"
        ) from error


REPORT_SECONDS = 2.0
"""Time between points of the loss curve."""


@dataclass(frozen=True)
class Trainer:
    """One training under way: steps, validations and checkpoints until it has ended."""

    state: TrainingState
    training_steps: TrainingSteps
    monitor: ValidationMonitor
    checkpointer: Checkpointer
    record: MetricLog
    profile: Profile
    watch: Stopwatch
    checkpoint_every: float
    """Seconds between checkpoints."""
    clock: Clock = "wall"
    """What the seconds of the run are counted on."""

    def loop(
        self,
        length: RunLength,
        interruption: Interruption,
        meter: Meter,
    ) -> str:
        """Steps until the length is reached; returns why it ended early, if so.

        Raises:
            NonFiniteLossError: The loss became NaN or infinite.
            LostProcessError: Another process of the run ended.
            TrainingError: The budget is too short for a training.
        """
        state, first = self.state, self.state.step
        start = seconds_on(self.clock) - state.seconds
        saved = reported = time.monotonic()
        while True:
            now = time.monotonic()
            done, reason, save_due = self._agree(
                shorten(length.done(state.step), cut_at=state.cut_at),
                interruption.reason(),
                save_due=now - saved > self.checkpoint_every,
            )
            if save_due:
                saved = now
                self.training_steps.guard.check()
                self.checkpointer.save()
            if state.step > first and self.monitor.due(done):
                self.training_steps.guard.check()
                self.monitor.take(done)
                state.seconds = seconds_on(self.clock) - start
                continue
            if done >= 1:
                length.ended(state.step)
                break
            if reason:
                return reason
            self.training_steps.take(done)
            length.taken(state.step)
            self.profile.step()
            now = time.monotonic()
            state.seconds = seconds_on(self.clock) - start
            if now - reported > REPORT_SECONDS:
                reported = now
                self._report_loss(done, meter)
        meter.update(1.0, f"step {state.step}")
        return ""

    def _agree(
        self, done: float, reason: str, *, save_due: bool
    ) -> tuple[float, str, bool]:
        """The first process's share and clock, and anybody's reason to stop."""
        processes = self.state.processes
        if processes.size == 1:
            return done, reason, save_due
        led = (done, float(save_due)) if processes.is_main else (0.0, 0.0)
        with self.watch.measure("waiting for other processes"):
            done, save, stop = processes.highest((*led, float(bool(reason))))
            if stop:
                reason = next(filter(None, processes.gather(reason)))
        return done, reason, bool(save)

    def _report_loss(self, done: float, meter: Meter) -> None:
        loss = float(self.training_steps.last_loss)
        meter.update(done, f"step {self.state.step}, loss {loss:.3f}")
        self.record.add(
            {"loss": loss, "learning_rate": self.training_steps.learning_rate(done)}
        )


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
        training_steps=_stepping(plan, settings, state, batches, device, context),
        monitor=ValidationMonitor(
            schedule=ValidationSchedule(
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
    for part in loss.modules():
        if isinstance(part, PluginLoss):
            context.progress.say(f"loss {part.name}: is given {part.assumed}")
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
        frozen=_frozen_encoder(plan, settings, state),
    )


def _frozen_encoder(
    plan: Plan, settings: TrainingSettings, state: TrainingState
) -> FrozenEncoder | None:
    init, network = settings.init, state.network
    if init is None or not init.freeze_encoder:
        return None
    assert isinstance(network, SegmentationNetwork)  # as `build_network` makes it
    return FrozenEncoder(
        network,
        parts_of(network, plan.network, init),
        share=init.freeze_encoder,
        changed=state.share_gradients_anew,
    )
