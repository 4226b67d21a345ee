"""Whether a network's weights are finite."""

from torch import nn


def nonfinite_weights(network: nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold NaN or infinity.

    Buffers count, since running statistics may break while the loss stays finite:
    training normalises by the batch's own.
    """
    return [
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
