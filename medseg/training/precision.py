"""Which number format the convolutions run in, decided by timing a step in each."""

import copy
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.training.batches import Batch

Precision = Literal["float32", "bfloat16", "float16"]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Timing:
    """What a trial step took."""

    precision: Precision
    seconds: float


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which the forward pass runs."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def candidates(device: torch.device) -> tuple[Precision, ...]:
    """Formats worth a trial on a device.

    A CPU without native bfloat16 units emulates them many times slower, so those are
    told by the processor's own flags rather than tried at length.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return ("bfloat16",)
        return ("float16",)
    has_bfloat16 = any(
        probe()
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        if (probe := getattr(torch.cpu, name, None)) is not None
    )
    return ("float32", "bfloat16") if has_bfloat16 else ("float32",)


def time_formats(
    network: nn.Module, batch: Batch, loss: nn.Module, *, repeats: int = 3
) -> list[Timing]:
    """Formats from fastest to slowest, by forward and backward passes of a batch.

    The network is copied first, so that its statistics and gradients stay as they
    are. The least of the repeats counts, after one pass that warms up: it is robust
    against other work on the machine.
    """
    device = batch.images.device
    formats = candidates(device)
    if len(formats) == 1:
        return [Timing(formats[0], 0.0)]
    trial = copy.deepcopy(network)
    timings = []
    for precision in formats:
        seconds = [
            _time_pass(trial, batch, loss, precision) for _ in range(repeats + 1)
        ]
        timings.append(Timing(precision, min(seconds[1:])))
    return sorted(timings, key=lambda timing: timing.seconds)


def _time_pass(
    network: nn.Module, batch: Batch, loss: nn.Module, precision: Precision
) -> float:
    start = time.perf_counter()
    forward_loss(network, batch, loss, precision=precision).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def forward_loss(
    network: nn.Module, batch: Batch, loss: nn.Module, *, precision: str
) -> Tensor:
    """The loss of a batch, its graph attached; the loss itself runs in float32."""
    with autocast(batch.images.device, precision):
        logits = network(batch.images)
    if isinstance(logits, Tensor):
        return loss(logits.float(), batch.labels)  # type: ignore[no-any-return]
    levels = [level.float() for level in logits]
    return loss(levels, batch.labels)  # type: ignore[no-any-return]
