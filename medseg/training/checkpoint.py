"""Checkpoints: written whole, read without executing code."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from medseg.errors import MissingFileError, TrainingError
from medseg.files import atomic_write
from medseg.training.state import TrainingState

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
