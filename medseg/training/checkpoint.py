"""Checkpoints: written whole, read without executing code, saved when it is time."""

import pickle
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.errors import MissingFileError, TrainingError
from medseg.files import atomic_write
from medseg.training.batches import BatchSource
from medseg.training.context import RunContext
from medseg.training.state import TrainingState
from medseg.training.step import require_finite_weights

CHECKPOINT = Path("checkpoints") / "last.pt"
"""Where a run keeps the checkpoint that resuming continues from."""


def save_checkpoint(folder: Path, state: TrainingState, *, identity: str) -> None:
    """Replaces the run's checkpoint by the present state.

    Args:
        folder: The run's folder.
        state: What to save.
        identity: Hash of data, plan and settings; resuming with others is refused.

    Raises:
        OutputError: The file cannot be written.
    """
    values = {"identity": identity, **state.to_values()}
    with atomic_write(folder / CHECKPOINT) as temporary, temporary.open("wb") as file:
        try:
            torch.save(values, file)
        except RuntimeError as error:  # by which torch hides why it could not write
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def load_checkpoint(folder: Path, *, identity: str) -> dict[str, Any]:
    """Values for `TrainingState.restore`.

    Raises:
        MissingFileError: The run has no checkpoint.
        TrainingError: The checkpoint is damaged or belongs to other data or settings.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no checkpoint to resume from; leave out --resume to start anew"
        )
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise TrainingError(f"{path}: damaged checkpoint: {error}") from error
    if values.pop("identity") != identity:
        raise TrainingError(
            f"{path}: was written with other data, plan or settings; resume with "
            "the same ones, or start a new run in another folder"
        )
    result: dict[str, Any] = values
    return result


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
