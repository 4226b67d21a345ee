"""The form of a trained network that computes the same, faster."""

import torch
from torch import nn

from medseg.networks.folding import fold


def inference_form(network: nn.Module, *, device: torch.device) -> nn.Module:
    """A copy for predicting: layers folded, on its device, in its fastest layout.

    On the CPU that is channels last, where convolutions take about half the time; on
    a GPU the layout stays as it is.

    Args:
        network: As trained.
        device: Where it will run.
    """
    folded = fold(network).to(device)
    if device.type != "cpu":
        return folded
    dims = next((p.dim() for p in folded.parameters() if p.dim() > 3), 0)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    if dims in layouts:
        folded = folded.to(memory_format=layouts[dims])  # type: ignore[call-overload]
    return folded
