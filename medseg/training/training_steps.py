"""A run's steps: each batch fitted to memory, its loss noted and guarded."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from medseg.device import is_out_of_memory
from medseg.errors import TrainingError
from medseg.progress import Progress
from medseg.training.batches import Batch, BatchSource
from medseg.training.guard import LossGuard
from medseg.training.memory_fallback import OutOfMemoryFallback
from medseg.training.schedule import learning_rate_factor
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState
from medseg.training.step import training_step


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
    last_loss: Tensor | float = float("nan")
    """Of the last step, on its device."""
    unfinished: dict[str, Any] | None = None
    """State of the sampler before the step that is being taken with others."""

    def take(self, done: float) -> None:
        """Takes the next step, in parts where memory ends.

        Args:
            done: Share of the run that is over, which the learning rate follows.

        Raises:
            NonFiniteLossError: The loss became NaN or infinite.
            LostProcessError: Another process of the run ended.
            TrainingError: A single patch does not fit into memory.
        """
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
        factor = learning_rate_factor(done, self.settings.schedule)
        return factor * self.settings.optimizer.learning_rate

    def _next_batch(self) -> Batch:
        """The next batch; where memory ends over it, steps are made smaller first."""
        while True:
            try:
                return self.batches.next()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
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
            if self.state.processes.size > 1:  # the others have gone on
                raise TrainingError(
                    f"memory ended; set training.accumulate={2 * self.memory_fallback.parts} "
                    "or more, or training.recompute=true, and --resume"
                ) from error
            return None
