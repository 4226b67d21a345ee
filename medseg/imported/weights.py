"""nnU-Net's names of a U-Net's parameters, and medseg's."""

import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from medseg.errors import ModelError

_DOUBLES = re.compile(r"(decoder\.encoder\..*|.*\.all_modules\.\d+\..*)")
"""Names under which nnU-Net's checkpoints hold a tensor a second time."""
_PARTS = r"(conv|norm)\.(\w+)"
_PATTERNS = (
    (
        rf"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.{_PARTS}",
        "encoder.stages.{}.{}.{}.{}",
    ),
    (rf"encoder\.stem\.convs\.0\.{_PARTS}", "encoder.stem.{}.{}"),
    (
        rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1\.{_PARTS}",
        "encoder.stages.{}.{}.first.{}.{}",
    ),
    (
        rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv2\.{_PARTS}",
        "encoder.stages.{}.{}.second.{}.{}",
    ),
    (
        rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.\d\.{_PARTS}",
        "encoder.stages.{}.{}.project.{}.{}",
    ),
)
_DECODER = (
    (r"decoder\.transpconvs\.(\d+)\.(\w+)", "decoder.stages.{}.up.{}"),
    (
        rf"decoder\.stages\.(\d+)\.convs\.(\d+)\.{_PARTS}",
        "decoder.stages.{}.convs.{}.{}.{}",
    ),
    (r"decoder\.seg_layers\.(\d+)\.(\w+)", "heads.{}.{}"),
)


def own_weights(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    order: Sequence[int],
    biased: bool,
    source: str,
) -> dict[str, Tensor]:
    """The weights under medseg's names, kernels in the axes of medseg's patch.

    Args:
        weights: As the checkpoint has them.
        expected: A state of the network they are for; only shapes are looked at.
        order: For each axis of medseg's patch, nnU-Net's axis.
        biased: Whether its convolutions add a bias (``conv_bias``).
        source: The file, for error messages.

    Raises:
        ModelError: A tensor is missing, unknown, of another shape, or held twice with
            different values.
    """
    stages = 1 + max(
        (int(found[1]) for name in weights if (found := _stage(name))), default=0
    )
    renamed = dict(_renamed(weights, stages, source))
    _require_equal_doubles(weights, source)
    result = {}
    for name, like in expected.items():
        tensor = renamed.pop(name, None)
        if tensor is None:
            tensor = _left_out(name, like, biased=biased, source=source)
        elif tensor.dim() > 2:
            tensor = tensor.permute(0, 1, *(2 + axis for axis in order))
        if tensor.shape != like.shape:
            raise ModelError(
                f"{source}: weights do not fit the plans: {name} has the shape "
                f"{tuple(tensor.shape)}, expected {tuple(like.shape)}"
            )
        result[name] = tensor.to(like.dtype).contiguous()
    if renamed:
        raise ModelError(
            f"{source}: weights do not fit the plans: the network has no "
            f"{next(iter(renamed))}"
        )
    return result


def _stage(name: str) -> re.Match[str] | None:
    return re.match(r"encoder\.stages\.(\d+)\.", name)


def _renamed(
    weights: Mapping[str, Tensor], stages: int, source: str
) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        if _DOUBLES.fullmatch(name):
            continue
        own = _own_name(name, stages)
        if own is None:
            raise ModelError(
                f"{source}: unknown weights {name!r:.120}; the checkpoint is of "
                "another network than PlainConvUNet or ResidualEncoderUNet"
            )
        yield f"core.{own}", tensor


def _own_name(name: str, stages: int) -> str | None:
    """Decoder stages are counted from the coarsest there, from the finest here."""
    for pattern, own in _PATTERNS:
        if found := re.fullmatch(pattern, name):
            return own.format(*found.groups())
    for pattern, own in _DECODER:
        if found := re.fullmatch(pattern, name):
            level, *rest = found.groups()
            return own.format(stages - 2 - int(level), *rest)
    return None


def _require_equal_doubles(weights: Mapping[str, Tensor], source: str) -> None:
    """Refuses a checkpoint in which one tensor has two values.

    Raises:
        ModelError: It has; which one nnU-Net would use depends on their order.
    """
    for name, tensor in weights.items():
        if not _DOUBLES.fullmatch(name):
            continue
        other = weights.get(_first_name(name))
        if other is None or not torch.equal(tensor, other):
            raise ModelError(
                f"{source}: {name} differs from {_first_name(name)}, which is the same "
                "tensor in every checkpoint of nnU-Net; damaged or tampered with"
            )


def _first_name(double: str) -> str:
    """The name under which a tensor stands first: convolutions lead their block."""
    name = double.removeprefix("decoder.encoder.")
    name = name if name == double else f"encoder.{name}"
    name = re.sub(r"\.all_modules\.0\.", ".conv.", name)
    return re.sub(r"\.all_modules\.\d+\.", ".norm.", name)


def _left_out(name: str, like: Tensor, *, biased: bool, source: str) -> Tensor:
    """The zeros that stand for a convolution's bias where the network has none.

    Raises:
        ModelError: The tensor cannot be left out.
    """
    if not biased and name.endswith((".conv.bias", ".up.bias")):
        return torch.zeros(like.shape, dtype=like.dtype)
    raise ModelError(f"{source}: weights do not fit the plans: {name} is missing")
