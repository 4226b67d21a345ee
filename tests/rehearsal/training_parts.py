"""Names the parts of a training step while it is rehearsed."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from observations import Observations
from torch import Tensor, nn
from torch.nn.modules import module as modules
from torch.utils._pytree import tree_leaves

from medseg.losses.deep_supervision import DeepSupervisionLoss, SegmentationAndPresence
from medseg.training import batches
from medseg.training.batches import Batch, BatchSource
from medseg.training.step import LossGuard
from medseg.training.stopwatch import Stopwatch
from medseg.training.trainer import TrainingSteps

REST = "rest of the step"
STEP = (
    "data",
    "augmentation",
    "forward",
    "loss forward",
    "loss backward",
    "backward",
    "optimiser",
    REST,
)
"""The parts of a step, in none of which the host may wait for the device."""

LOSSES = (DeepSupervisionLoss, SegmentationAndPresence)


@contextmanager
def named_parts(seen: Observations) -> Iterator[None]:
    """Names the parts of training steps inside `with`.

    The stopwatch of a run knows most of them. The loss is told apart from the network:
    its forward pass by the module, its backward pass by the gradient of the network's
    outputs, which is the end of it. Batches are made by the thread that asks for them.
    """
    with ExitStack() as stack:
        for owner, name, part in (
            (BatchSource, "_read", "data"),
            (TrainingSteps, "take", REST),
            (LossGuard, "check", "guard"),
        ):
            call = _within(seen, part, getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, call))
        for name in ("measure", "measure_device"):
            timed = _timed_and_named(seen, getattr(Stopwatch, name))
            stack.enter_context(mock.patch.object(Stopwatch, name, timed))
        stack.enter_context(mock.patch.object(batches, "_Ahead", MadeAhead))
        stack.enter_context(_loss_told_apart(seen))
        yield


class MadeAhead:
    """Makes batches ahead as the thread does, in the thread that asks for them."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source
        self._ready: list[Batch] = []

    def get(self) -> Batch:
        while len(self._ready) < batches.QUEUE_SIZE:
            self._ready.append(self._source._make())
        return self._ready.pop(0)

    def close(self) -> None:
        self._ready.clear()


def _within(
    seen: Observations, part: str, call: Callable[..., Any]
) -> Callable[..., Any]:
    def named(*args: Any, **kwargs: Any) -> Any:
        with seen.during(part):
            return call(*args, **kwargs)

    return named


def _timed_and_named(seen: Observations, measure: Any) -> Any:
    @contextlib.contextmanager
    def timed(self: Stopwatch, part: str) -> Iterator[None]:
        first = "loss backward" if part == "backward" else part
        with measure(self, part), seen.during(first):
            yield

    return timed


@contextmanager
def _loss_told_apart(seen: Observations) -> Iterator[None]:
    outermost: list[tuple[nn.Module, str]] = []

    def begin(module: nn.Module, args: Any) -> None:
        if not isinstance(module, LOSSES) or outermost:
            return
        outermost.append((module, seen.part))
        seen.part = "loss forward"
        outputs = [t for t in tree_leaves(args) if t.requires_grad]
        _when_all_have_gradients(outputs, lambda: _end_of_loss(seen))

    def end(module: nn.Module, args: Any, result: Any) -> None:
        del args, result
        if outermost and outermost[0][0] is module:
            seen.part = outermost.pop()[1]

    hooks = (
        modules.register_module_forward_pre_hook(begin),
        modules.register_module_forward_hook(end),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _end_of_loss(seen: Observations) -> None:
    if seen.part == "loss backward":
        seen.part = "backward"


def _when_all_have_gradients(tensors: list[Tensor], call: Callable[[], None]) -> None:
    waiting = len(tensors)

    def arrived(_: Tensor) -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            call()

    for tensor in tensors:
        tensor.register_hook(arrived)
