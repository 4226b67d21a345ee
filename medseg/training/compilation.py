"""torch.compile, where it gives the same numbers in less time."""

import copy
import math
import time
from dataclasses import dataclass

import torch
from torch import nn

from medseg.progress import Progress
from medseg.training.batches import Batch
from medseg.training.precision import forward_loss
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState

SHORTEST_SECONDS = 300.0
"""Shortest budget that ``auto`` compiles for: compiling takes about a minute."""

FEWEST_STEPS = 2000
"""Likewise, for runs of a number of steps."""

TOLERANCE = 0.02
"""Largest relative difference of the loss, which bfloat16 rounds to 1/256."""


def wants_compiling(settings: TrainingSettings, device: torch.device) -> bool:
    """Whether to try it: on a GPU, for a run that is long enough, unless told."""
    if settings.compile != "auto" or settings.deterministic:
        return settings.compile == "on"
    long_enough = (
        (settings.budget or 0) >= SHORTEST_SECONDS
        or (settings.steps or 0) >= FEWEST_STEPS
        or settings.epochs is not None
    )
    return device.type == "cuda" and long_enough


def compile_if_faster(
    state: TrainingState, batch: Batch, loss: nn.Module, *, progress: Progress
) -> nn.Module | None:
    """The network compiled; None where that fails, differs or is no faster.

    A compiled step is compared with a plain one on the same batch. Weights and running
    statistics are as before afterwards. Of several processes each tries by itself, on
    its share of the batch; they take it where it works in all of them and makes the
    slowest one faster.

    Raises:
        LostProcessError: Another process of the run ended.
    """
    mine = _compile_and_try(state, batch, loss, progress=progress)
    failed, slow, fast = state.processes.highest(
        (1.0, 0.0, 0.0) if mine is None else (0.0, mine.slow, mine.fast)
    )
    if mine is None or failed:
        return None
    progress.say(
        f"a step forward and back: {slow * 1e3:.0f} ms, compiled {fast * 1e3:.0f} ms"
    )
    return mine.network if fast < slow else None


@dataclass(frozen=True)
class _Trial:
    """A compiled network, and seconds of a plain and of a compiled step."""

    network: nn.Module
    slow: float
    fast: float


def _compile_and_try(
    state: TrainingState, batch: Batch, loss: nn.Module, *, progress: Progress
) -> _Trial | None:
    """The network compiled and timed here; None where that fails or differs."""
    kept = copy.deepcopy(state.network.state_dict())
    try:
        compiled: nn.Module = torch.compile(state.network)  # type: ignore[assignment]
        with torch.random.fork_rng():
            theirs, slow = _try(state, state.network, batch, loss)
            ours, fast = _try(state, compiled, batch, loss)
    except Exception as error:  # noqa: BLE001 - whatever a compiler may raise
        reason = " ".join(str(error).split())[:120]
        progress.say(f"torch.compile cannot be used here: {reason}")
        return None
    finally:
        state.network.load_state_dict(kept)
        state.network.zero_grad(set_to_none=True)
    if not math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        progress.say(
            f"torch.compile changes the loss ({ours:.4f}, not {theirs:.4f}): not used"
        )
        return None
    return _Trial(compiled, slow, fast)


def _try(
    state: TrainingState, network: nn.Module, batch: Batch, loss: nn.Module
) -> tuple[float, float]:
    """The loss of a batch, and seconds forward and back once warm."""
    value, least = 0.0, math.inf
    for number in range(4):
        torch.manual_seed(0)
        start = time.perf_counter()
        result = forward_loss(network, batch, loss, precision=state.precision)
        result.backward()  # type: ignore[no-untyped-call]
        if batch.images.device.type == "cuda":
            torch.cuda.synchronize(batch.images.device)
        if number:
            least = min(least, time.perf_counter() - start)
        else:
            value = float(result.detach())
    return value, least
