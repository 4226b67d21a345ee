"""When a run's state goes to disk: as it is, or as it was before others were lost."""

import time
from dataclasses import dataclass
from typing import Any

from medseg.training.batches import BatchSource
from medseg.training.checkpoint import CHECKPOINT, save_checkpoint
from medseg.training.context import RunContext
from medseg.training.guard import require_finite_weights
from medseg.training.state import TrainingState


@dataclass(frozen=True)
class Checkpointer:
    """Writes checkpoints of a run."""

    state: TrainingState
    batches: BatchSource
    context: RunContext

    def save(self) -> None:
        """Writes a checkpoint; all processes take part.

        Raises:
            LostProcessError: Another process of the run ended.
            NonFiniteWeightsError: Training diverged; the checkpoint before is kept.
            OutputError: The run's folder cannot be written.
        """
        self.state.batches = self.batches.state_dict()
        if self.state.processes.is_main:
            self._write()

    def rescue(self, unfinished: dict[str, Any] | None) -> None:
        """Writes a checkpoint after another process ended.

        Every process that is left holds the same state; the first to come writes.

        Args:
            unfinished: State of the sampler before the step that was being taken, which
                is to be taken again; None between steps.

        Raises:
            NonFiniteWeightsError: Training diverged; the checkpoint before is kept.
            OutputError: The run's folder cannot be written.
        """
        lost = time.time()
        time.sleep(min(self.state.processes.number, 10) * 0.5)
        path = self.context.folder / CHECKPOINT
        if not path.is_file() or path.stat().st_mtime < lost - 5:
            self.state.batches = self.batches.state_dict(alone=True)
            if unfinished is not None:
                self.state.batches["sampler"] = unfinished
            self._write()

    def _write(self) -> None:
        for network in {self.state.network, self.state.validated_network}:
            require_finite_weights(network, step=self.state.step)
        with self.batches.watch.measure("checkpoints"):
            save_checkpoint(
                self.context.folder,
                self.state,
                identity=self.context.identity,
            )
