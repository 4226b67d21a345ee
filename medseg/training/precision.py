"""Which number format the convolutions run in, decided by timing a step in each."""

import copy
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.device import has_bfloat16
from medseg.losses.deep_supervision import SegmentationAndPresence
from medseg.progress import Progress
from medseg.training.batches import Batch
from medseg.training.state import TrainingState, loss_scaler
from medseg.training.stopwatch import Stopwatch

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
        return ("bfloat16",) if has_bfloat16(device) else ("float16",)
    if device.type != "cpu":
        return ("bfloat16",) if has_bfloat16(device) else ("float32",)
    has_units = any(
        probe()
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        if (probe := getattr(torch.cpu, name, None)) is not None
    )
    return ("float32", "bfloat16") if has_units else ("float32",)


def time_formats(
    network: nn.Module,
    batch: Batch,
    loss: nn.Module,
    *,
    repeats: int = 3,
    max_seconds: float = 5.0,
) -> list[Timing]:
    """Formats from fastest to slowest, by forward and backward passes of one patch.

    The network is copied first, so that its statistics and gradients stay as they
    are. The least of the repeats counts, after one pass that warms up: it is robust
    against other work on the machine.

    Args:
        network: On the device of the batch.
        batch: Its first patch is passed through.
        loss: Takes what the network gives.
        repeats: Passes of each format.
        max_seconds: No repeat begins after this time; each format gets one.
    """
    device = batch.images.device
    formats = candidates(device)
    if len(formats) == 1:
        return [Timing(formats[0], 0.0)]
    trial = copy.deepcopy(network)
    patch = replace(batch, images=batch.images[:1], labels=batch.labels[:1])
    end = time.perf_counter() + max_seconds
    for precision in formats:
        _time_pass(trial, patch, loss, precision)
    least = dict.fromkeys(formats, math.inf)
    for number in range(repeats):
        for precision in formats:
            if number and time.perf_counter() > end:
                break
            seconds = _time_pass(trial, patch, loss, precision)
            least[precision] = min(least[precision], seconds)
    timings = [Timing(precision, seconds) for precision, seconds in least.items()]
    return sorted(timings, key=lambda timing: timing.seconds)


def choose_precision(
    state: TrainingState,
    batch: Batch,
    loss: nn.Module,
    *,
    wanted: str,
    watch: Stopwatch,
    progress: Progress,
) -> None:
    """Gives a run the format that was asked for, or the fastest by trial.

    Args:
        state: Its precision and its scaler are set.
        batch: Passed through in trials; on the device of the run.
        loss: Takes what the network gives.
        wanted: A format, or ``auto``.
        watch: Told how long trials took.
        progress: Told what they came to.

    Raises:
        LostProcessError: Another process of the run ended.
    """
    if wanted != "auto":
        state.precision = wanted
    else:
        with watch.measure("choosing a precision"):
            timings = time_formats(state.network, batch, loss)
        state.precision = state.processes.gather(timings[0].precision)[0]
        if len(timings) > 1:
            times = ", ".join(f"{t.precision} {t.seconds:.3f} s" for t in timings)
            progress.say(f"one patch forward and back: {times}")
    state.scaler = loss_scaler(batch.images.device, state.precision)


def _time_pass(
    network: nn.Module, batch: Batch, loss: nn.Module, precision: Precision
) -> float:
    start = time.perf_counter()
    forward_loss(network, batch, loss, precision=precision).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def forward_loss(
    network: nn.Module, batch: Batch, loss: nn.Module, *, precision: str
) -> Tensor:
    """The loss of a batch, its graph attached; losses add up in float32 or better."""
    asked = isinstance(loss, SegmentationAndPresence)
    with autocast(batch.images.device, precision):
        if asked:
            outputs = network(batch.images, with_presence=True)
        else:
            outputs = network(batch.images)
    if batch.unannotated is None:
        value: Tensor = loss(outputs, batch.labels)
    else:
        value = loss(outputs, batch.labels, batch.unannotated)
    return value
