"""The contracting path of a U-Net."""

from torch import Tensor, nn

from medseg.networks.blocks import AVERAGE_POOL, MAX_POOL, ConvBlock, ResidualBlock
from medseg.networks.settings import UNetSettings, per_axis
from medseg.networks.unet_levels import (
    block_choices,
    count_at,
    kernel_at,
    stage_of_convolutions,
)


class Encoder(nn.Module):
    """Stages from fine to coarse; their outputs are the skips."""

    def __init__(
        self, settings: UNetSettings, *, spatial_dims: int, in_channels: int
    ) -> None:
        """Builds the stages."""
        super().__init__()
        self.stem: nn.Module = nn.Identity()
        channels = in_channels
        if settings.block == "residual":
            self.stem = ConvBlock(
                channels,
                settings.channels[0],
                kernel_size=kernel_at(settings, 0, spatial_dims),
                stride=per_axis(settings.strides[0], spatial_dims),
                **block_choices(settings),
            )
            channels = settings.channels[0]
        stages = []
        for level, width in enumerate(settings.channels):
            stages.append(_encoder_stage(settings, level, channels, spatial_dims))
            channels = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of every stage, fine to coarse."""
        x = self.stem(x)
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


def _encoder_stage(
    settings: UNetSettings, level: int, channels: int, spatial_dims: int
) -> nn.Sequential:
    """Down-sampling and the convolutions or residual blocks of one stage."""
    stride = per_axis(settings.strides[level], spatial_dims)
    if settings.block == "residual" and level == 0:
        stride = (1,) * spatial_dims  # the stem has strided already
    layers: list[nn.Module] = []
    if settings.downsampling != "strided" and any(step > 1 for step in stride):
        pool = MAX_POOL if settings.downsampling == "maxpool" else AVERAGE_POOL
        layers.append(pool[spatial_dims](stride, stride))
        stride = (1,) * spatial_dims
    count = count_at(settings.convs_per_stage, level)
    if settings.block == "plain":
        layers += stage_of_convolutions(
            settings, level, channels, count, stride=stride, spatial_dims=spatial_dims
        )
        return nn.Sequential(*layers)
    for index in range(count):
        layers.append(
            ResidualBlock(
                settings.channels[level] if index else channels,
                settings.channels[level],
                kernel_size=kernel_at(settings, level, spatial_dims),
                stride=() if index else stride,
                **block_choices(settings),
            )
        )
    return nn.Sequential(*layers)
