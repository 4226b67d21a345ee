"""Instance normalization that stays fast where memory is laid out channels last."""

import torch
from torch import Tensor, nn

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class _ChannelsLast(nn.Module):
    """On the CPU, one batch normalization per sample instead of a change of layout.

    torch's instance normalization reorders channels-last memory and leaves it
    reordered, so that it and the next convolution take three times as long; a batch
    normalization over a single sample is the same function and keeps the layout.
    """

    weight: Tensor
    bias: Tensor
    eps: float

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
            for sample in x.split(1)
        ]
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized)


class InstanceNorm2d(_ChannelsLast, nn.InstanceNorm2d):
    """Instance normalization of (N, C, I, J)."""


class InstanceNorm3d(_ChannelsLast, nn.InstanceNorm3d):
    """Instance normalization of (N, C, I, J, K)."""


def _is_channels_last_on_cpu(x: Tensor) -> bool:
    """Whether the fast way applies; never while a graph is being recorded."""
    return (
        x.device.type == "cpu"
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=CHANNELS_LAST[x.dim()])
    )
