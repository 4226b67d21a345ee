"""One optimiser step: its loss, and what to do when memory runs out or it diverges."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medseg.errors import NonFiniteLossError, NonFiniteWeightsError, TrainingError
from medseg.losses.build import build_loss
from medseg.losses.deep_supervision import DeepSupervisionLoss, SegmentationAndPresence
from medseg.losses.targets import PartialLabelLoss
from medseg.networks.network import nonfinite_weights
from medseg.plan import Plan
from medseg.training.batches import Batch
from medseg.training.precision import forward_loss
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState
from medseg.training.stopwatch import Stopwatch


class LossOnHost(nn.Module):
    """A loss computed on the CPU, for devices that lack what it needs."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, *inputs: Any) -> Tensor:
        """The loss as a scalar on the CPU; gradients go back to the device.

        Args:
            inputs: What the loss takes: tensors, or sequences of them.
        """
        value: Tensor = self.loss(*map(_on_host, inputs))
        return value


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, list | tuple):
        return type(value)(map(_on_host, value))
    return value


def segmentation_loss(plan: Plan, settings: TrainingSettings) -> nn.Module:
    """The loss of a plan: at all outputs of the network, and of presence if asked."""
    scheme = plan.targets
    regions = tuple(
        tuple(scheme.structures.index(name) + 1 for name in names)
        for names in scheme.regions.values()
    )
    loss = build_loss(settings.loss, num_classes=scheme.num_classes, regions=regions)
    segmentation = PartialLabelLoss(DeepSupervisionLoss(loss), regions=regions)
    if not getattr(plan.network, "presence_head", False):
        return segmentation
    return SegmentationAndPresence(
        segmentation, num_classes=scheme.num_classes, regions=regions
    )


class LossGuard:
    """Checks losses some steps later, so that a GPU need not be waited for."""

    def __init__(
        self,
        *,
        every: int,
        report: Callable[[tuple[str, ...], float], None] | None = None,
    ) -> None:
        """Checks once in so many steps.

        Args:
            every: Number of steps.
            report: Told the cases and the loss of each step that was checked.
        """
        self._every = every
        self._report = report
        self._pending: list[tuple[int, Tensor, tuple[str, ...]]] = []

    def add(self, loss: Tensor, *, step: int, case_ids: tuple[str, ...]) -> None:
        """Notes the loss of a step and of the cases its patches come from.

        Raises:
            NonFiniteLossError: A loss noted since the last look is NaN or infinite.
        """
        self._pending.append((step, loss, case_ids))
        if len(self._pending) >= self._every:
            self.check()

    def check(self) -> None:
        """Checks what was noted since the last check.

        Raises:
            NonFiniteLossError: A loss is NaN or infinite; its cases are named.
        """
        for step, loss, case_ids in self._pending:
            value = float(loss)
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"step {step}: the loss is {value} on patches of "
                    f"{', '.join(sorted(set(case_ids)))}; look at these cases with "
                    "`medseg doctor`, or lower training.optimizer.learning_rate"
                )
            if self._report is not None:
                self._report(case_ids, value)
        self._pending.clear()


def require_finite_weights(network: nn.Module, *, step: int) -> None:
    """Refuses a network that can no longer be trained, scored or saved.

    Args:
        network: As it is after a step; a GPU is waited for.
        step: Number of steps taken, for the message.

    Raises:
        NonFiniteWeightsError: A weight or running statistic is NaN or infinite.
    """
    broken = nonfinite_weights(network)
    if broken:
        raise NonFiniteWeightsError(
            f"step {step}: training diverged, {len(broken)} of the network's tensors "
            f"are no longer finite, the first is {broken[0]}; nothing of this state is "
            "saved. Lower training.optimizer.learning_rate and start anew, or look "
            "for broken intensities with `medseg doctor`"
        )


class OutOfMemoryFallback:
    """How a step is fitted to memory, from what the settings ask for downwards."""

    def __init__(self, settings: TrainingSettings, network: nn.Module) -> None:
        self.parts = settings.accumulate
        self._recomputes = False
        if settings.recompute:
            self._recompute(network)

    def relieve(self, network: nn.Module, *, patches: int) -> str:
        """Halves what is in memory at a time; returns what was done, in words.

        Args:
            network: The network being trained.
            patches: Of a batch.

        Raises:
            TrainingError: A single patch does not fit.
        """
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.parts < patches:
            self.parts = min(2 * self.parts, patches)
            return f"batches pass in {self.parts} parts (training.accumulate)"
        if not self._recomputes:
            self._recompute(network)
            return "activations are computed again (training.recompute)"
        raise TrainingError(
            "a single patch does not fit into memory; choose a smaller one with "
            "--set plan.patch_size=..., or a smaller network"
        )

    def _recompute(self, network: nn.Module) -> None:
        self._recomputes = True
        recompute_activations(network)


def recompute_activations(network: nn.Module) -> None:
    """Lets the stages of a network keep their input alone until the backward pass.

    The gradients stay the same; a step takes about a third longer and needs the memory
    of one stage at a time (Chen et al., arXiv:1604.06174).
    """
    for stage in _stages(network):
        stage.forward = partial(_recomputed, stage.forward)


def _stages(module: nn.Module) -> list[nn.Module]:
    """The uppermost sequences of layers."""
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, nn.Sequential):
            found.append(child)
        else:
            found += _stages(child)
    return found


def _recomputed(forward: Any, *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False)


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
