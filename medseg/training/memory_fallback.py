"""What to do when memory runs out: smaller parts, then recomputed activations."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medseg.errors import TrainingError
from medseg.training.settings import TrainingSettings


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
