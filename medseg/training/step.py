"""One optimiser step."""

import torch
from torch import Tensor, nn

from medseg.training.batches import Batch
from medseg.training.precision import forward_loss
from medseg.training.state import TrainingState


def training_step(
    state: TrainingState,
    batch: Batch,
    loss: nn.Module,
    *,
    learning_rate: float,
    gradient_clip: float,
) -> Tensor:
    """Moves the weights by one step and returns the loss, still on the device."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    state.optimizer.zero_grad(set_to_none=True)
    value = forward_loss(state.network, batch, loss, precision=state.precision)
    state.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimizer)
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), gradient_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.averaged is not None:
        state.averaged.update(state.network, state.step)
    state.step += 1
    return value.detach()
