"""Convolution, normalization and non-linearity: the bricks of every network.

Plain torch rather than MONAI's ``Convolution``: the same three layers, without four
seconds of import, and with names (``conv``, ``norm``) that folding relies on.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.settings import Activation, Normalization

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


CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
AVERAGE_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
MAX_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
BATCH_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUT: dict[int, Any] = {2: nn.Dropout2d, 3: nn.Dropout3d}

LEAKY_SLOPE = 0.01


def make_normalization(
    kind: Normalization, channels: int, *, spatial_dims: int
) -> nn.Module:
    """The normalization layer for a number of channels; identity for ``none``."""
    if kind == "instance":
        module: nn.Module = InstanceNorm(channels)
    elif kind == "batch":
        module = BATCH_NORM[spatial_dims](channels)
    elif kind == "group":
        size = next(size for size in (8, 4, 2, 1) if channels % size == 0)
        module = nn.GroupNorm(channels // size, channels)
    else:
        module = nn.Identity()
    return module


def make_activation(kind: Activation) -> nn.Module:
    """The non-linearity; in place where its backward allows."""
    if kind == "leakyrelu":
        return nn.LeakyReLU(LEAKY_SLOPE, inplace=True)
    others: dict[str, nn.Module] = {
        "relu": nn.ReLU(inplace=True),
        "gelu": nn.GELU(),
        "silu": nn.SiLU(inplace=True),
        "prelu": nn.PReLU(),
        "elu": nn.ELU(inplace=True),
    }
    return others[kind]


def make_convolution(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int] | int = 1,
    dilation: int = 1,
    padding: str = "same",
    bias: bool = True,
) -> nn.Module:
    """A convolution; ``same`` padding keeps the size at stride 1.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel_size: Odd sizes, one per axis; their number says 2D or 3D.
        stride: Step along each axis.
        dilation: Distance between neighbouring taps.
        padding: ``same`` or ``valid``.
        bias: Whether to add a number per channel.
    """
    margin = tuple(dilation * (k - 1) // 2 for k in kernel_size)
    module: nn.Module = CONV[len(kernel_size)](
        in_channels,
        out_channels,
        kernel_size=tuple(kernel_size),
        stride=stride if isinstance(stride, int) else tuple(stride),
        padding=margin if padding == "same" else 0,
        dilation=dilation,
        bias=bias,
    )
    return module


class ConvBlock(nn.Module):
    """Convolution, dropout, normalization, non-linearity, in nnU-Net's order."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sequence[int],
        stride: Sequence[int] | int = 1,
        dilation: int = 1,
        padding: str = "same",
        normalization: Normalization = "instance",
        activation: Activation | None = "leakyrelu",
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        """Builds the layers; a convolution without normalization has a bias."""
        super().__init__()
        dims = len(kernel_size)
        self.conv = make_convolution(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            padding=padding,
            bias=bias or normalization == "none",
        )
        self.drop = DROPOUT[dims](dropout) if dropout else nn.Identity()
        self.norm = make_normalization(normalization, out_channels, spatial_dims=dims)
        self.act = make_activation(activation) if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (N, C_out, *spatial / stride)."""
        result: Tensor = self.act(self.norm(self.drop(self.conv(x))))
        return result


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, as nnU-Net's ``BasicBlockD``.

    The shortcut averages over the stride and, where the number of channels changes,
    maps them by a 1×1 convolution (He et al., arXiv:1812.01187, "ResNet-D").
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sequence[int],
        stride: Sequence[int] = (),
        dilation: int = 1,
        normalization: Normalization = "instance",
        activation: Activation = "leakyrelu",
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        """Builds both paths; without `stride` the size stays."""
        super().__init__()
        dims = len(kernel_size)
        stride = tuple(stride) or (1,) * dims
        self.first = ConvBlock(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            normalization=normalization,
            activation=activation,
            dropout=dropout,
            bias=bias,
        )
        self.second = ConvBlock(
            out_channels,
            out_channels,
            kernel_size=kernel_size,
            dilation=dilation,
            normalization=normalization,
            activation=None,
            bias=bias,
        )
        pooled = any(step > 1 for step in stride)
        self.pool = AVERAGE_POOL[dims](stride, stride) if pooled else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.project = ConvBlock(
                in_channels,
                out_channels,
                kernel_size=(1,) * dims,
                normalization=normalization,
                activation=None,
            )
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (N, C_out, *spatial / stride)."""
        shortcut = self.project(self.pool(x))
        result: Tensor = self.act(self.second(self.first(x)) + shortcut)
        return result


def initialize(network: nn.Module) -> None:
    """He initialisation for leaky ReLU of slope 0.01, biases zero, as nnU-Net.

    The last normalization of each residual block starts at zero, so that a block
    starts as its shortcut.

    References:
        He et al., arXiv:1502.01852; Isensee et al., doi:10.1038/s41592-020-01008-z.
    """
    if any(weight.is_meta for weight in network.parameters()):
        return  # no values to set; torch would import its compiler to set none
    kinds = (*CONV.values(), *CONV_TRANSPOSED.values())
    for module in network.modules():
        if isinstance(module, kinds):
            nn.init.kaiming_normal_(module.weight, a=LEAKY_SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            weight = getattr(module.second.norm, "weight", None)
            if isinstance(weight, Tensor):
                nn.init.zeros_(weight)
