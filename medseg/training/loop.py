"""The story of a run: build, resume, step, look, save, stop on time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import TrainingError
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.losses.build import build_loss
from medseg.losses.deep_supervision import DeepSupervisionLoss
from medseg.losses.presence import SegmentationAndPresence
from medseg.plan import Plan
from medseg.preparation.stored_case import StoredCase
from medseg.progress import Meter, Progress
from medseg.sampling import Ledger, collapse_alarms, starvation_alarms
from medseg.training.batches import ALONE, Batch, BatchSource
from medseg.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from medseg.training.compilation import compile_if_faster, wants_compiling
from medseg.training.guard import LossGuard
from medseg.training.history import History
from medseg.training.interruption import Interruption
from medseg.training.length import RunLength
from medseg.training.logger import RunLogger
from medseg.training.looks import Looks
from medseg.training.memory import Thrift, is_out_of_memory
from medseg.training.plateau import LOOKS, has_plateaued, shorten
from medseg.training.precision import time_formats
from medseg.training.profile import Profile
from medseg.training.ranks import LostProcessError, Ranks
from medseg.training.schedule import learning_rate_factor
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState, fresh_state
from medseg.training.step import training_step
from medseg.training.stopwatch import Stopwatch
from medseg.training.utilisation import Utilisation

REPORT_SECONDS = 2.0
"""Time between points of the loss curve."""

GPU_GUARD_STEPS = 20
"""Steps after which a GPU is asked for the losses; a CPU is asked at each step."""


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        network: The averaged network where there is one, in eval mode.
        steps: Optimiser steps, over all parts of a resumed run.
        seconds: Time spent training, likewise.
        best_dice: Best mean Dice seen on the way; −1 without a look.
        stopped_by: Why the run ended early; empty when it ran its length.
        shares: Share of this part's time by what it was spent on.
        precision: Number format of the convolutions.
        ledger: What training was shown.
        alarms: What the user was warned of on the way.
        utilisation: How busy the device was, in [0, 1]; None where it cannot tell.
    """

    network: nn.Module
    steps: int
    seconds: float
    best_dice: float
    stopped_by: str
    shares: dict[str, float]
    precision: str
    ledger: Ledger
    alarms: tuple[str, ...]
    utilisation: float | None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run; a stop file ends it as if it were done."""
        return self.stopped_by.startswith("SIG")


@dataclass(frozen=True)
class Surroundings:
    """What a run writes to and is watched through."""

    folder: Path
    """The run's folder."""
    identity: str
    """Hash of data, plan and settings; only a checkpoint that has it is continued."""
    logger: RunLogger
    progress: Progress
    ranks: Ranks = ALONE
    """The processes that train together; all but the first are given a logger and a
    progress that say nothing."""


def fit(
    plan: Plan,
    settings: TrainingSettings,
    *,
    batches: BatchSource,
    validation_cases: Sequence[StoredCase],
    device: torch.device,
    length: RunLength,
    surroundings: Surroundings,
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
        surroundings: Folder, logger and progress.
        resume: Continue from the run's checkpoint.
        profile: Write a trace of some steps to the run's folder.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite; names the cases.
        LostProcessError: Another process of the run ended; a checkpoint was written.
        TrainingError: The checkpoint cannot be continued.
        OutputError: The run's folder cannot be written.
    """
    folder, progress = surroundings.folder, surroundings.progress
    state, ranks = fresh_state(plan, settings, device), surroundings.ranks
    if resume:
        state.restore(load_checkpoint(folder, identity=surroundings.identity))
        batches.load_state_dict(state.batches, step=state.step)
    state.share_with(ranks, device)
    path = folder / "metrics.csv" if ranks.leads else None
    history = History(path, resume_at=state.step if resume else None)
    run = _Run(
        plan=plan,
        settings=settings,
        state=state,
        loss=segmentation_loss(plan, settings).to(device),
        looks=Looks(
            validation_cases,
            largest_share=settings.validation_share,
            folder=folder,
        ),
        guard=LossGuard(
            every=1 if device.type == "cpu" else GPU_GUARD_STEPS,
            report=batches.report_loss,
        ),
        batches=batches,
        history=history,
        watch=batches.watch,
        thrift=Thrift(settings, state.network),
        profile=Profile(
            folder, wanted=profile and ranks.leads, on_gpu=device.type == "cuda"
        ),
        device=device,
        surroundings=surroundings,
    )
    with Interruption(folder, patient=ranks.size > 1) as interruption, batches:
        if not resume:
            if ranks.leads:
                interruption.clear()
            run.choose_precision(batches.peek())
        if ranks.size == 1 and wants_compiling(settings, device):
            with run.watch.measure("compiling"):
                state.runner = compile_if_faster(
                    state, batches.peek(), run.loss, progress=progress
                )
        progress.say(
            f"training for {length.describe()} on {device}{_times(ranks)}, "
            f"{state.precision}, from step {state.step}"
        )
        try:
            with (
                progress.meter(label="training") as meter,
                run.profile,
                Utilisation(device, run.watch) as utilisation,
            ):
                stopped_by = run.loop(length, interruption, meter)
            run.guard.check()
            run.save()
            ledger = batches.whole_ledger()
        except LostProcessError:
            run.rescue()
            raise
    return FitResult(
        network=state.validated_network.eval(),
        steps=state.step,
        seconds=state.seconds,
        best_dice=state.best_dice,
        stopped_by=stopped_by,
        shares=run.watch.shares(),
        precision=state.precision,
        ledger=ledger,
        alarms=tuple(run.alarms),
        utilisation=utilisation.share(),
    )


@dataclass
class _Run:
    """The parts of a run, for the length of its loop."""

    plan: Plan
    settings: TrainingSettings
    state: TrainingState
    loss: nn.Module
    looks: Looks
    guard: LossGuard
    batches: BatchSource
    history: History
    watch: Stopwatch
    thrift: Thrift
    profile: Profile
    device: torch.device
    surroundings: Surroundings
    alarms: list[str] = field(default_factory=list)
    dice_history: list[dict[str, float]] = field(default_factory=list)
    unfinished: dict[str, Any] | None = None
    """State of the sampler before the step that is being taken with others."""

    def loop(
        self,
        length: RunLength,
        interruption: Interruption,
        meter: Meter,
    ) -> str:
        """Steps until the length is reached; returns why it ended early, if so."""
        state, first = self.state, self.state.step
        start = time.monotonic() - state.seconds
        saved = reported = time.monotonic()
        while True:
            now = time.monotonic()
            save_due = now - saved > self.settings.checkpoint_every
            done, reason, save_due = self._agree(
                shorten(length.done(state.step), cut_at=state.cut_at),
                interruption.reason(),
                save_due,
            )
            if save_due:
                saved = now
                self.save()
            if state.step > first and self.looks.due(done, state):
                self._look(done)
                state.seconds = time.monotonic() - start
                continue
            if done >= 1:
                break
            if reason:
                return reason
            self._step(done)
            self.profile.step()
            now = time.monotonic()
            state.seconds = now - start
            if now - reported > REPORT_SECONDS:
                reported = now
                self._report_loss(done, meter)
        meter.update(1.0, f"step {state.step}")
        return ""

    def _agree(
        self,
        done: float,
        reason: str,
        save_due: bool,  # noqa: FBT001 - passed through
    ) -> tuple[float, str, bool]:
        """The first process's share and clock, and anybody's reason to stop."""
        ranks = self.state.ranks
        if ranks.size == 1:
            return done, reason, save_due
        led = (done, float(save_due)) if ranks.leads else (0.0, 0.0)
        with self.watch.measure("waiting for other processes"):
            done, save, stop = ranks.highest((*led, float(bool(reason))))
            if stop:
                reason = next(filter(None, ranks.gather(reason)))
        return done, reason, bool(save)

    def choose_precision(self, batch: Batch) -> None:
        """Takes the format that was asked for, or the fastest by trial."""
        state, wanted = self.state, self.settings.precision
        if wanted != "auto":
            state.precision = wanted
        else:
            with self.watch.measure("choosing a precision"):
                timings = time_formats(state.network, batch, self.loss)
            state.precision = state.ranks.gather(timings[0].precision)[0]
            if len(timings) > 1:
                times = ", ".join(f"{t.precision} {t.seconds:.3f} s" for t in timings)
                self.surroundings.progress.say(f"one patch forward and back: {times}")
        state.scaler = torch.amp.GradScaler(
            self.device.type, enabled=state.precision == "float16"
        )

    def _step(self, done: float) -> None:
        if self.state.ranks.size > 1:
            self.unfinished = self.batches.sampler_state()
        batch, loss = self.batches.next(), None
        while loss is None:
            loss = self._try_step(batch, done)
            if loss is None:
                patches = len(batch.labels)
                relief = self.thrift.relieve(self.state.network, patches=patches)
                self.surroundings.progress.warn(f"memory ended: from now on {relief}")
        self.unfinished = None
        self.guard.add(loss, step=self.state.step, case_ids=batch.case_ids)
        self.last_loss = loss

    def _try_step(self, batch: Batch, done: float) -> Tensor | None:
        """The loss of a step; None where memory ended before it was taken."""
        try:
            return training_step(
                self.state,
                batch,
                self.loss,
                learning_rate=self._learning_rate(done),
                gradient_clip=self.settings.gradient_clip,
                accumulate=self.thrift.parts,
                watch=self.watch,
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if self.state.ranks.size > 1:  # the others have gone on
                raise TrainingError(
                    f"memory ended; set training.accumulate={2 * self.thrift.parts} "
                    "or more, or training.recompute=true, and --resume"
                ) from error
            return None

    def _learning_rate(self, done: float) -> float:
        factor = learning_rate_factor(done, self.settings.schedule)
        return factor * self.settings.optimizer.learning_rate

    def _report_loss(self, done: float, meter: Meter) -> None:
        loss = float(self.last_loss)
        meter.update(done, f"step {self.state.step}, loss {loss:.3f}")
        self._record({"loss": loss, "learning_rate": self._learning_rate(done)})

    def _look(self, done: float) -> None:
        with self.watch.measure("validation"):
            scores = self.looks.take(self._predictor(), self.state, done)
        ledger = self.batches.whole_ledger()
        self._record({**scores, **ledger.metrics()})
        self._raise_alarms(scores, ledger)
        self._cut_short(done)
        self.surroundings.progress.say(
            f"step {self.state.step}: Dice {scores['dice/mean']:.4f} on whole "
            "validation cases"
        )

    def _cut_short(self, done: float) -> None:
        """Brings the run to its end where it has stopped getting better."""
        state, wanted = self.state, self.settings.early_stop
        if wanted and not state.cut_at and has_plateaued(state.looks):
            state.cut_at = done
            self.surroundings.progress.say(
                f"Dice has not risen for {LOOKS} looks: the run comes to its end"
            )

    def _raise_alarms(self, scores: dict[str, float], ledger: Ledger) -> None:
        """Warns once of each structure that is starved or collapses."""
        self.dice_history.append(
            {name.removeprefix("dice/"): dice for name, dice in scores.items()}
        )
        sampling = self.settings.sampling
        for alarm in (
            *starvation_alarms(ledger, sampling),
            *collapse_alarms(self.dice_history, ledger, sampling),
        ):
            subject = _subject(alarm)
            if subject not in {_subject(known) for known in self.alarms}:
                self.alarms.append(alarm)
                self.surroundings.progress.warn(alarm)

    def _predictor(self) -> Predictor:
        return Predictor(
            self.state.validated_network.eval(),
            self.plan,
            self.device,
            InferenceSettings(precision=self.state.precision),
        )

    def _record(self, metrics: dict[str, float]) -> None:
        step = self.state.step
        patches = step * self.plan.batch_size
        metrics = {**metrics, "epoch": patches / self.batches.patches_per_epoch}
        self.history.add(metrics, step=step, seconds=self.state.seconds)
        self.surroundings.logger.log_metrics(metrics, step=step)

    def save(self) -> None:
        """Writes a checkpoint; all processes take part."""
        self.state.batches = self.batches.state_dict()
        if self.state.ranks.leads:
            self._write()

    def rescue(self) -> None:
        """Writes a checkpoint after another process ended.

        Every process that is left holds the same state; the first to come writes.
        """
        lost = time.time()
        time.sleep(min(self.state.ranks.number, 10) * 0.5)
        path = self.surroundings.folder / CHECKPOINT
        if not path.is_file() or path.stat().st_mtime < lost - 5:
            self.state.batches = self.batches.state_dict(alone=True)
            if self.unfinished is not None:  # the step is to be taken again
                self.state.batches["sampler"] = self.unfinished
            self._write()

    def _write(self) -> None:
        with self.watch.measure("checkpoints"):
            save_checkpoint(
                self.surroundings.folder,
                self.state,
                identity=self.surroundings.identity,
            )


def _times(ranks: Ranks) -> str:
    return f" in {ranks.size} processes" if ranks.size > 1 else ""


def _subject(alarm: str) -> str:
    """An alarm without its numbers, which change from look to look."""
    return "".join(sign for sign in alarm if not sign.isdigit())


def segmentation_loss(plan: Plan, settings: TrainingSettings) -> nn.Module:
    """The loss of a plan: at all outputs of the network, and of presence if asked."""
    scheme = plan.targets
    regions = tuple(
        tuple(scheme.structures.index(name) + 1 for name in names)
        for names in scheme.regions.values()
    )
    loss = build_loss(settings.loss, num_classes=scheme.num_classes, regions=regions)
    segmentation = DeepSupervisionLoss(loss)
    if not getattr(plan.network, "presence_head", False):
        return segmentation
    return SegmentationAndPresence(
        segmentation, num_classes=scheme.num_classes, regions=regions
    )
