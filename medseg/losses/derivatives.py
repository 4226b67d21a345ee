"""What the closed-form gradients cannot do."""

import torch


def refuse_second_derivative() -> None:
    """Called in a backward pass, raises if that pass itself is to be differentiated.

    Raises:
        RuntimeError: Backward runs with ``create_graph=True``.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "this loss has a closed-form gradient that cannot be differentiated again; "
            "call backward without create_graph=True, or use a loss of PyTorch or MONAI"
        )
