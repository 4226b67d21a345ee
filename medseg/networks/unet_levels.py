"""What a U-Net's settings come to at one of its levels."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from medseg.networks.blocks import ConvBlock
from medseg.networks.settings import AxisSize, UNetSettings, per_axis


def kernel_at(settings: UNetSettings, level: int, spatial_dims: int) -> tuple[int, ...]:
    """The kernel of a level's convolutions, one size per axis."""
    sizes: int | tuple[AxisSize, ...] = settings.kernel_sizes
    return per_axis(sizes if isinstance(sizes, int) else sizes[level], spatial_dims)


def count_at(values: int | tuple[int, ...], level: int) -> int:
    """One level's number, where one number may stand for all levels."""
    return values if isinstance(values, int) else values[level]


def block_choices(settings: UNetSettings) -> dict[str, Any]:
    """What all convolutional blocks of a U-Net share."""
    return {
        "normalization": settings.normalization,
        "activation": settings.activation,
        "dropout": settings.dropout,
        "bias": settings.conv_bias,
    }


def stage_of_convolutions(
    settings: UNetSettings,
    level: int,
    in_channels: int,
    count: int,
    *,
    spatial_dims: int,
    stride: Sequence[int] | int = 1,
) -> nn.Sequential:
    """A stage's convolutions; the first may stride."""
    width = settings.channels[level]
    return nn.Sequential(
        *(
            ConvBlock(
                width if index else in_channels,
                width,
                kernel_size=kernel_at(settings, level, spatial_dims),
                stride=1 if index else stride,
                padding=settings.padding,
                **block_choices(settings),
            )
            for index in range(count)
        )
    )
