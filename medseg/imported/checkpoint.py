"""nnU-Net's checkpoints, read without executing anything that is in them.

A checkpoint is a pickle. torch's restricted reader (``weights_only``) makes tensors and
plain values of it; beyond these, nnU-Net's hold a few numpy numbers of its log, whose
makers are allowed by name. Whatever else a file asks for is refused by name.
"""

import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.errors import MissingFileError, ModelError

_OLDEST_TORCH = (2, 6)
"""From there on, allowed names may differ from where they lie today."""


@dataclass(frozen=True)
class Checkpoint:
    """What prediction needs of a checkpoint.

    Attributes:
        weights: The network's parameters, by nnU-Net's names.
        trainer: Name of the class that trained it.
        configuration: Name of the configuration in the plans.
        mirror_axes: Axes that test-time flips may use; none where it was trained
            without.
    """

    weights: dict[str, Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights of a checkpoint file, and how they were trained.

    Raises:
        MissingFileError: There is no such file.
        ModelError: It cannot be read, asks for code to be run, or lacks something.
    """
    content = load_plain(path, tool="nnU-Net")
    if not isinstance(content, dict):
        raise _wrong(path, f"holds a {type(content).__name__}, expected a dictionary")
    weights = content.get("network_weights")
    if not isinstance(weights, dict) or not weights:
        raise _wrong(path, "has no network_weights")
    strange = [
        str(name)
        for name, value in weights.items()
        if not isinstance(name, str) or not isinstance(value, Tensor)
    ]
    if strange:
        raise _wrong(path, f"network_weights: {strange[0]!r:.80} is no named tensor")
    arguments = content.get("init_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    return Checkpoint(
        weights,
        _text(content.get("trainer_name"), "trainer_name", path),
        _text(arguments.get("configuration"), "init_args: configuration", path),
        _axes(content.get("inference_allowed_mirroring_axes"), path),
    )


def load_plain(path: Path, *, tool: str) -> Any:
    """Plain values and tensors of a checkpoint, and nothing that runs.

    Args:
        path: The file.
        tool: Whose checkpoint it is, for error messages.

    Raises:
        MissingFileError: There is no such file.
        ModelError: It cannot be read, or asks for code to be run.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if found and (int(found[1]), int(found[2])) < _OLDEST_TORCH:
        raise ModelError(
            f"{path}: reading checkpoints of {tool} safely needs torch 2.6 or newer, "
            f"this is {torch.__version__}"
        )
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=zipfile.is_zipfile(path),
            )
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path}: refused: {_reason(error, tool)}") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path}: not a checkpoint of {tool}: {reason}") from error


def _allowed() -> list[Any]:
    """The makers of numpy's numbers, under the names of numpy 1 and 2."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64)]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (np.dtype, "numpy.dtype"),
        *((kind, f"numpy.dtypes.{kind.__name__}") for kind in dtypes),
        *((kind, f"numpy.{kind.__name__}") for kind in dtypes),
    ]


def _reason(error: Exception, tool: str) -> str:
    """What the file asked for, by name."""
    text = str(error)
    names = re.findall(r"GLOBAL ([\w.]+)", text) or re.findall(
        r"Trying to (?:load|call|instantiate)[^\n]*?([\w.]+\.[\w]+)", text
    )
    asked = f"asks for {names[0]}" if names else "holds more than weights and numbers"
    return (
        f"the file {asked}, which no checkpoint of {tool} needs and which could run "
        "code; nothing of it was executed"
    )


def _text(value: Any, key: str, path: Path) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.+-]{1,200}", value):
        raise _wrong(path, f"{key} is {value!r:.80}, expected a name")
    return value


def _axes(value: Any, path: Path) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, (tuple, list)) or not all(
        isinstance(axis, int) and 0 <= axis <= 2 for axis in value
    ):
        raise _wrong(path, f"inference_allowed_mirroring_axes is {value!r:.80}")
    return tuple(value)


def _wrong(path: Path, what: str) -> ModelError:
    return ModelError(f"{path}: not a checkpoint of nnU-Net v2: {what}")
