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


class _ScoreUpsampling:
    """What the transposed convolutions of scores in 2D and 3D have in common.

    The voxel at each border is repeated once and what comes of it cut off again, so
    that a linear start interpolates up to the last voxel, as `F.interpolate` does; the
    original cropped that zone. Weights saved before this was so come without
    `repeats_borders`, and are computed with zeros beyond the borders as they were.
    """

    repeats_borders: Tensor

    def mark(self, *, repeated: bool) -> None:
        """Keeps with the weights what lies beyond the borders."""
        self.borders = int(repeated)
        self.repeats_borders.fill_(self.borders)

    def adopt(self, state: dict[str, Any], key: str) -> None:
        """Takes what weights that are about to be loaded were trained with."""
        self.mark(repeated=bool(state.setdefault(key, torch.tensor(0).byte())))


class ScoreUpsampling2d(_ScoreUpsampling, nn.ConvTranspose2d):
    """In 2D."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("repeats_borders", torch.tensor(1, dtype=torch.uint8))
        self.borders = 1

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Scores of shape (N, C, fI, fJ)."""
        del output_size
        more, stride = self.borders, self.stride
        x = nn.functional.pad(x, (more,) * 4, mode="replicate") if more else x
        padding = cast("tuple[int, ...]", self.padding)
        cut = [p + more * s for p, s in zip(padding, stride, strict=True)]
        return nn.functional.conv_transpose2d(x, self.weight, self.bias, stride, cut)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        self.adopt(state_dict, f"{prefix}repeats_borders")
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ScoreUpsampling3d(_ScoreUpsampling, nn.ConvTranspose3d):
    """In 3D."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("repeats_borders", torch.tensor(1, dtype=torch.uint8))
        self.borders = 1

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Scores of shape (N, C, fI, fJ, fK)."""
        del output_size
        more, stride = self.borders, self.stride
        x = nn.functional.pad(x, (more,) * 6, mode="replicate") if more else x
        padding = cast("tuple[int, ...]", self.padding)
        cut = [p + more * s for p, s in zip(padding, stride, strict=True)]
        return nn.functional.conv_transpose3d(x, self.weight, self.bias, stride, cut)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        self.adopt(state_dict, f"{prefix}repeats_borders")
        super()._load_from_state_dict(state_dict, prefix, *rest)


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
