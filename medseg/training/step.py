"""One optimiser step."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from medseg.training.batches import Batch
from medseg.training.precision import forward_loss
from medseg.training.state import TrainingState
from medseg.training.stopwatch import Stopwatch


def training_step(
    state: TrainingState,
    batch: Batch,
    loss: nn.Module,
    *,
    learning_rate: float,
    gradient_clip: float,
    accumulate: int = 1,
    watch: Stopwatch | None = None,
) -> Tensor:
    """Moves the weights by one step and returns the loss, still on the device.

    Args:
        state: Network and optimiser.
        batch: This process's share of the step's patches.
        loss: The mean over the patches it is given.
        learning_rate: Of this step.
        gradient_clip: Largest norm of the gradient.
        accumulate: Parts that the share is passed through the network in, one after
            the other, each with the weight of its patches.
        watch: Told how long forward, backward and optimiser take.

    Returns:
        The mean over all patches of the step, of all processes.

    Raises:
        LostProcessError: Another process ended.
    """
    watch = watch or Stopwatch()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate", 1.0)
    state.optimizer.zero_grad(set_to_none=True)
    with state.processes.watched():
        value = _backward(state, batch, loss, accumulate, watch)
    with watch.measure_device("optimiser"):
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), gradient_clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.averaged is not None:
            state.averaged.update(state.network, state.step)
    state.step += 1
    return state.processes.total(value)


def _backward(
    state: TrainingState,
    batch: Batch,
    loss: nn.Module,
    accumulate: int,
    watch: Stopwatch,
) -> Tensor:
    """Gradients of the mean over the step's patches; returns this process's part."""
    runner = state.runner or state.network
    parts = split_batch(batch, accumulate)
    total = torch.zeros((), device=batch.images.device)
    for number, part in enumerate(parts, start=1):
        share = len(part.labels) / len(batch.draws)
        with _unshared(runner, until_last=number < len(parts)):
            with watch.measure_device("forward"):
                value = forward_loss(runner, part, loss, precision=state.precision)
            # processes' gradients are averaged, so that each counts by its patches
            scaled = state.scaler.scale(value * (share * state.processes.size))
            with watch.measure_device("backward"):
                scaled.backward()  # type: ignore[no-untyped-call]
        total += value.detach().to(total.device) * share
    return total


def _unshared(runner: nn.Module, *, until_last: bool) -> AbstractContextManager[object]:
    """Leaves gradients with this process until the last part of a batch."""
    no_sync = getattr(runner, "no_sync", None)
    return no_sync() if until_last and no_sync is not None else nullcontext()


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """A batch in parts as even as can be, no more than it has patches."""
    if parts == 1:
        return [batch]
    number = len(batch.labels)
    parts = min(parts, number)
    ends = [number * n // parts for n in range(parts + 1)]
    return [
        replace(
            batch,
            images=batch.images[low:high],
            labels=batch.labels[low:high],
            shown=batch.shown[low:high],
            first=batch.first + low,
            unannotated=None
            if batch.unannotated is None
            else batch.unannotated[low:high],
        )
        for low, high in pairwise(ends)
    ]
