"""Instance normalization that stays fast where memory is laid out channels last."""

import torch
from torch import Tensor, nn

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class InstanceNorm(nn.Module):
    """Each sample's channels brought to mean 0 and deviation 1, then scaled.

    torch's instance normalization reorders channels-last memory and leaves it
    reordered, so that on the CPU it and the next convolution take three times as
    long; a batch normalization over a single sample is the same function and keeps
    the layout. Works in 2D and 3D.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalized features of the same shape and memory layout."""
        if _is_trained_elsewhere(x):
            return normalize_all_at_once(x, self.weight, self.bias, eps=self.eps)
        if not _is_channels_last_on_cpu(x):
            return nn.functional.instance_norm(
                x, weight=self.weight, bias=self.bias, eps=self.eps
            )
        normalized = [
            nn.functional.batch_norm(
                sample,
                None,
                None,
                self.weight,
                self.bias,
                training=True,
                eps=self.eps,
            )
            for sample in torch.split(x, 1)
        ]
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized)


def normalize_all_at_once(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float
) -> Tensor:
    """Instance normalization whose result an activation may overwrite at no cost.

    All channels of all samples go through one batch normalization as a single sample,
    as torch's own function does. That one returns a view, however, and writing into
    it in place adds a copy and several kernels to every backward pass (autograd's
    ``CopySlices``); this result is none.

    Args:
        x: Shape (N, C, *spatial).
        weight: Shape (C,).
        bias: Shape (C,).
        eps: Added to the variance.
    """
    number = len(x)
    flat = x.reshape(1, number * x.shape[1], *x.shape[2:])
    normalized = nn.functional.batch_norm(
        flat,
        None,
        None,
        weight.repeat(number),
        bias.repeat(number),
        training=True,
        eps=eps,
    )
    shaped: Tensor = torch.ops.aten._unsafe_view(normalized, x.shape)  # noqa: SLF001
    return shaped


def _is_trained_elsewhere(x: Tensor) -> bool:
    """Whether gradients are recorded on a GPU; a compiler does without."""
    return (
        x.device.type != "cpu"
        and torch.is_grad_enabled()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
    )


def _is_channels_last_on_cpu(x: Tensor) -> bool:
    """Whether the fast way applies; never while a graph is being recorded."""
    return (
        x.device.type == "cpu"
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=CHANNELS_LAST[x.dim()])
    )
