"""U-Net: contracting path, expanding path, skips between them.

References:
    Ronneberger et al., arXiv:1505.04597 (unpadded, 2D); Çiçek et al.,
    arXiv:1606.06650 (3D); Isensee et al., doi:10.1038/s41592-020-01008-z and
    arXiv:2404.09556 (strides and kernels from the data, residual encoder).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import (
    AVERAGE_POOL,
    MAX_POOL,
    ConvBlock,
    ResidualBlock,
    make_activation,
    make_convolution,
)
from medseg.networks.core import Core
from medseg.networks.settings import AxisSize, Normalization, UNetSettings, per_axis
from medseg.networks.upsampling import make_upsampling


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


class CentreCrop(nn.Module):
    """Cuts the margin that unpadded convolutions lost elsewhere."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """The centre of `x`, with the spatial size of `like`."""
        for axis in range(2, x.dim()):
            have, wanted = int(x.shape[axis]), int(like.shape[axis])
            x = x.narrow(axis, (have - wanted) // 2, wanted)
        return x


def unpadded_size(
    settings: UNetSettings, size: int, axis: int, *, spatial_dims: int
) -> int | None:
    """Voxels that come out of unpadded convolutions along one axis.

    Returns:
        None where a stride does not divide its input or nothing is left.
    """
    levels = range(len(settings.channels))
    lost = [kernel_at(settings, level, spatial_dims)[axis] - 1 for level in levels]
    strides = [per_axis(stride, spatial_dims)[axis] for stride in settings.strides]
    for level in levels:
        if size % strides[level]:
            return None
        convs = count_at(settings.convs_per_stage, level)
        size = size // strides[level] - convs * lost[level]
        if size < 1:
            return None
    for level in levels[-2::-1]:
        convs = count_at(settings.decoder_convs, level)
        size = size * strides[level + 1] - convs * lost[level]
        if size < 1:
            return None
    return size


class AttentionGate(nn.Module):
    """Scales each voxel of a skip by a number in (0, 1).

    Own code because MONAI's gate fixes batch normalization, which fails at the batch
    sizes of 3D.

    References:
        Oktay et al., arXiv:1804.03999, equations 1 and 2 (additive gate).
    """

    def __init__(
        self, channels: int, *, spatial_dims: int, normalization: Normalization
    ) -> None:
        super().__init__()
        ones = (1,) * spatial_dims
        hidden = max(channels // 2, 1)
        self.skip, self.signal = (
            ConvBlock(
                channels,
                hidden,
                kernel_size=ones,
                normalization=normalization,
                activation=None,
            )
            for _ in range(2)
        )
        self.act = make_activation("relu")
        self.score = make_convolution(hidden, 1, kernel_size=ones)

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """The skip, gated; both inputs have shape (N, C, *spatial)."""
        mixed = self.act(self.skip(skip) + self.signal(signal))
        return skip * torch.sigmoid(self.score(mixed))


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


class Decoder(nn.Module):
    """Up-samples the coarsest features, joins each skip, convolves."""

    def __init__(self, settings: UNetSettings, *, spatial_dims: int) -> None:
        """Builds the stages, fine to coarse."""
        super().__init__()
        levels = range(len(settings.channels) - 1)
        self.stages = nn.ModuleList(
            DecoderStage(settings, level, spatial_dims=spatial_dims) for level in levels
        )

    def forward(self, skips: list[Tensor]) -> list[Tensor]:
        """Features of every decoder stage, fine to coarse."""
        x = skips[-1]
        features = []
        for level in range(len(skips) - 2, -1, -1):
            x = self.stages[level](x, skips[level])
            features.append(x)
        return features[::-1]


class DecoderStage(nn.Module):
    """One step of the expanding path."""

    def __init__(
        self, settings: UNetSettings, level: int, *, spatial_dims: int
    ) -> None:
        """Builds the stage that returns to resolution `level`."""
        super().__init__()
        fine, coarse = settings.channels[level : level + 2]
        self.up = make_upsampling(
            settings.upsampling,
            coarse,
            fine,
            stride=per_axis(settings.strides[level + 1], spatial_dims),
            kernel_size=settings.upsampling_kernel,
        )
        self.crop = CentreCrop() if settings.padding == "valid" else None
        self.gate: nn.Module | None = None
        if settings.attention:
            self.gate = AttentionGate(
                fine, spatial_dims=spatial_dims, normalization=settings.normalization
            )
        self.convs = stage_of_convolutions(
            settings,
            level,
            2 * fine,
            count_at(settings.decoder_convs, level),
            spatial_dims=spatial_dims,
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Features at the resolution of the skip."""
        x = self.up(x)
        if self.crop is not None:
            skip = self.crop(skip, x)
        if self.gate is not None:
            skip = self.gate(skip, x)
        result: Tensor = self.convs(torch.cat((x, skip), dim=1))
        return result


class FullResolutionHead(nn.Module):
    """From a strided stem's features to logits at full resolution."""

    def __init__(
        self,
        settings: UNetSettings,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
    ) -> None:
        """Builds the up-sampling and, if wanted, the refinement."""
        super().__init__()
        ones = (1,) * spatial_dims
        width = settings.refinement_channels
        plain = settings.refinement == "none"
        self.up = make_upsampling(
            settings.upsampling,
            settings.channels[0],
            out_channels if plain else width,
            stride=per_axis(settings.strides[0], spatial_dims),
            kernel_size=settings.upsampling_kernel,
        )
        self.branch: nn.Module | None = None
        self.join: nn.Module | None = None
        if plain:
            return
        block: Callable[[int], ConvBlock] = lambda channels: ConvBlock(  # noqa: E731
            channels,
            width,
            kernel_size=kernel_at(settings, 0, spatial_dims),
            **block_choices(settings),
        )
        if settings.refinement == "branch":
            self.branch = block(in_channels)
            in_channels = width
        self.join = nn.Sequential(
            block(width + in_channels),
            make_convolution(width, out_channels, kernel_size=ones),
        )

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Logits of shape (N, L, *spatial of the image)."""
        x: Tensor = self.up(features)
        if self.join is not None:
            detail = image if self.branch is None else self.branch(image)
            x = self.join(torch.cat((x, detail), dim=1))
        return x


class UNetCore(Core):
    """U-Net for sizes that its strides divide."""

    encoder_modules = ("encoder.",)

    def __init__(
        self,
        settings: UNetSettings,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
    ) -> None:
        """Builds encoder, decoder and heads."""
        super().__init__()
        self.settings = settings
        self.spatial_dims = spatial_dims
        self.divisor = settings.divisor(spatial_dims)
        self.deep_channels = settings.channels[-1]
        self.encoder = Encoder(
            settings, spatial_dims=spatial_dims, in_channels=in_channels
        )
        self.decoder = Decoder(settings, spatial_dims=spatial_dims)
        ones = (1,) * spatial_dims
        first = int(settings.strided_stem)
        coarse = settings.channels[: settings.extra_outputs + 1 - first]
        self.heads = nn.ModuleList(
            make_convolution(channels, out_channels, kernel_size=ones)
            for channels in coarse
        )
        self.finish: nn.Module | None = None
        if settings.strided_stem:
            self.finish = FullResolutionHead(
                settings,
                spatial_dims=spatial_dims,
                in_channels=in_channels,
                out_channels=out_channels,
            )

    def axis_output(self, size: int, axis: int) -> int | None:
        """Voxels along an axis that come out; None if the input does not fit."""
        if self.settings.padding == "same":
            return super().axis_output(size, axis)
        return unpadded_size(self.settings, size, axis, spatial_dims=self.spatial_dims)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits, full resolution first, and the deepest features."""
        skips = self.encoder(x)
        features = self.decoder(skips)
        outputs: list[Tensor] = []
        if self.finish is not None:
            outputs.append(self.finish(features[0], x))
        wanted = len(self.heads) if self.training else 1 - len(outputs)
        for head, level in zip(list(self.heads)[:wanted], features, strict=False):
            outputs.append(head(level))
        return outputs, skips[-1]
