"""What reading a model of another tool gives, and what all such readings share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.errors import ModelError
from medseg.model import Model


@dataclass(frozen=True)
class ImportedModel:
    """A trained model of another tool as medseg's own.

    Attributes:
        models: One per fold.
        folds: Their names.
        previous: The low-resolution stage, for a cascade of nnU-Net.
        notes: What its user should know, in words.
    """

    models: tuple[Model, ...]
    folds: tuple[str, ...]
    previous: "ImportedModel | None" = None
    notes: tuple[str, ...] = ()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping.

    Raises:
        ModelError: It cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: holds a {type(values).__name__}, expected a mapping")
    return values


def require_finite(state: Mapping[str, Tensor], file: Path) -> None:
    """Refuses weights of a training that diverged.

    Raises:
        ModelError: Some are NaN or infinite.
    """
    broken = [n for n, t in state.items() if not torch.isfinite(t).all()]
    if broken:
        raise ModelError(
            f"{file}: {len(broken)} tensors of weights hold NaN or infinity, the first "
            f"is {broken[0]}: the training diverged"
        )
