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
        """Takes the number of channels and what is added to the variance."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalized features of the same shape and memory layout."""
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


def _is_channels_last_on_cpu(x: Tensor) -> bool:
    """Whether the fast way applies; never while a graph is being recorded."""
    return (
        x.device.type == "cpu"
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=CHANNELS_LAST[x.dim()])
    )
