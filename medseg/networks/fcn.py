"""Fully convolutional networks: FCN-32s, FCN-16s and FCN-8s.

A classifier whose fully connected layers became convolutions scores every 32nd
voxel; finer features are scored by 1×1 convolutions and added while transposed
convolutions bring the scores back to full resolution.

References:
    Long, Shelhamer and Darrell, arXiv:1411.4038; Simonyan and Zisserman,
    arXiv:1409.1556 (VGG16, configuration D).
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from medseg.networks.blocks import (
    DROPOUT,
    MAX_POOL,
    ConvBlock,
    make_convolution,
)
from medseg.networks.core import Core
from medseg.networks.settings import FCNSettings

HEAD_DROPOUT = 0.5


class FCNCore(Core):
    """FCN-32s, -16s or -8s, in 2D or 3D, for sizes that 32 divides.

    The convolutions of the head are padded, where the original padded the image by
    100 voxels and cropped: the same receptive field without a shifted grid.
    """

    encoder_modules = ("blocks.",)

    def __init__(
        self,
        settings: FCNSettings,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
    ) -> None:
        """Builds encoder, scores and up-samplings."""
        super().__init__()
        self.divisor = settings.divisor(spatial_dims)
        self.deep_channels = settings.head_channels
        self.blocks = nn.ModuleList(_vgg_blocks(settings, spatial_dims, in_channels))
        self.head = _head(settings, spatial_dims)
        ones = (1,) * spatial_dims
        self.score = make_convolution(
            settings.head_channels, out_channels, kernel_size=ones
        )
        skips = {32: 0, 16: 1, 8: 2}[settings.variant]
        self.skip_scores = nn.ModuleList(
            make_convolution(channels, out_channels, kernel_size=ones)
            for channels in settings.channels[3 : 3 - skips : -1]
        )
        self.doublings = nn.ModuleList(
            bilinear_upsampling(out_channels, factor=2, spatial_dims=spatial_dims)
            for _ in range(skips)
        )
        self.finish = bilinear_upsampling(
            out_channels, factor=settings.variant, spatial_dims=spatial_dims
        )

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits at full resolution and the deepest features."""
        pooled = []
        for block in self.blocks:
            x = block(x)
            pooled.append(x)
        deepest = self.head(x)
        scores = self.score(deepest)
        for index, (skip, double) in enumerate(
            zip(self.skip_scores, self.doublings, strict=True)
        ):
            scores = double(scores) + skip(pooled[3 - index])
        return [self.finish(scores)], deepest


class _ScoreUpsampling(nn.Module):
    """What the transposed convolutions of scores in 2D and 3D have in common.

    Beyond the borders a transposed convolution sees zeros, so that one that starts as
    linear interpolation would be dimmer there. What comes out is divided by the share
    of the tent that lies on the image, which is 1 but within half a stride of a border:
    the start then equals `F.interpolate`, which continues the last voxel, everywhere.
    The original cropped that zone. Weights saved before this was so come without
    `even_borders`, and are computed as they were.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    even_borders: Tensor

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("even_borders", torch.tensor(1, dtype=torch.uint8))
        factor = self.stride[0]
        tent = bilinear_kernel(factor, spatial_dims=1).reshape(1, 1, -1)
        self.register_buffer("tent", tent, persistent=False)
        self.is_even = True

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Scores of shape (N, C, f times the size of `x`)."""
        scores: Tensor = super().forward(x, output_size)
        if not self.is_even:
            return scores
        for axis in range(2, x.ndim):
            shape = [1] * x.ndim
            shape[axis] = -1
            scores = scores / self._share(x, axis).reshape(shape)
        return scores

    def _share(self, x: Tensor, axis: int) -> Tensor:
        """Share of the tent that lies on the image, along one axis of the scores."""
        line = torch.ones_like(x.select(1, 0).select(0, 0).movedim(axis - 2, -1))
        while line.ndim > 1:
            line = line.select(0, 0)
        factor = self.stride[0]
        tent = cast("Tensor", self.tent).to(line.dtype)
        return nn.functional.conv_transpose1d(
            line.reshape(1, 1, -1), tent, stride=factor, padding=factor // 2
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        key = f"{prefix}even_borders"
        self.is_even = bool(state_dict.setdefault(key, torch.tensor(0).byte()))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ScoreUpsampling2d(_ScoreUpsampling, nn.ConvTranspose2d):
    """In 2D."""


class ScoreUpsampling3d(_ScoreUpsampling, nn.ConvTranspose3d):
    """In 3D."""


SCORE_UPSAMPLING: dict[int, type[ScoreUpsampling2d | ScoreUpsampling3d]] = {
    2: ScoreUpsampling2d,
    3: ScoreUpsampling3d,
}


def bilinear_upsampling(
    channels: int, *, factor: int, spatial_dims: int
) -> ScoreUpsampling2d | ScoreUpsampling3d:
    """A transposed convolution that starts as linear interpolation by a factor.

    Kernel 2f, stride f, padding f/2: output size f(n−1) + 2f − f = fn, and 2f is a
    multiple of f, so that it leaves no checkerboard.
    """
    return SCORE_UPSAMPLING[spatial_dims](
        channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False
    )


def bilinear_kernel(factor: int, *, spatial_dims: int) -> Tensor:
    """Weights of linear interpolation by an even factor, shape (2f, …).

    Along one axis a tent: 1 − |x − centre| / f at the 2f taps.
    """
    taps = torch.arange(2 * factor, dtype=torch.float32)
    tent = 1 - (taps - (factor - 0.5)).abs() / factor
    kernel = tent
    for _ in range(spatial_dims - 1):
        kernel = kernel.unsqueeze(-1) * tent
    return kernel


def initialize_bilinear(network: nn.Module) -> None:
    """Sets every transposed convolution of an FCN to linear interpolation."""
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            dims = module.weight.dim() - 2
            kernel = bilinear_kernel(module.stride[0], spatial_dims=dims)
            with torch.no_grad():
                module.weight.zero_()
                for channel in range(module.in_channels):
                    module.weight[channel, channel] = kernel


def _vgg_blocks(
    settings: FCNSettings, spatial_dims: int, in_channels: int
) -> list[nn.Module]:
    """Five blocks of convolutions, each followed by max-pooling."""
    blocks: list[nn.Module] = []
    channels = in_channels
    for width, count in zip(settings.channels, settings.convs_per_block, strict=True):
        layers: list[nn.Module] = []
        for _ in range(count):
            layers.append(
                ConvBlock(
                    channels,
                    width,
                    kernel_size=(3,) * spatial_dims,
                    dropout=settings.dropout,
                    **_common(settings),
                )
            )
            channels = width
        blocks.append(nn.Sequential(*layers, MAX_POOL[spatial_dims](2, 2)))
    return blocks


def _head(settings: FCNSettings, spatial_dims: int) -> nn.Sequential:
    """VGG16's two fully connected layers as convolutions, with their dropout."""
    layers: list[nn.Module] = []
    channels = settings.channels[-1]
    for kernel in (settings.head_kernel, 1):
        layers.append(
            ConvBlock(
                channels,
                settings.head_channels,
                kernel_size=(kernel,) * spatial_dims,
                **_common(settings),
            )
        )
        layers.append(DROPOUT[spatial_dims](HEAD_DROPOUT))
        channels = settings.head_channels
    return nn.Sequential(*layers)


def _common(settings: FCNSettings) -> dict[str, Any]:
    return {
        "normalization": settings.normalization,
        "activation": settings.activation,
    }
