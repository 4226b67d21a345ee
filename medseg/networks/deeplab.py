"""DeepLabV3+: dilated encoder, pyramid of dilations, light decoder.

References:
    Chen et al., arXiv:1802.02611 (V3+); arXiv:1706.05587 (ASPP with image pooling).
"""

from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import ConvBlock, ResidualBlock, make_convolution
from medseg.networks.core import Core
from medseg.networks.settings import DeepLabSettings
from medseg.networks.upsampling import Interpolate


class DeepLabCore(Core):
    """DeepLabV3+ in 2D or 3D, for sizes that the output stride divides."""

    encoder_modules = ("stem.", "stages.")

    def __init__(
        self,
        settings: DeepLabSettings,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
    ) -> None:
        """Builds encoder, ASPP and decoder."""
        super().__init__()
        self.divisor = settings.divisor(spatial_dims)
        self.deep_channels = settings.channels[-1]
        ones, threes = (1,) * spatial_dims, (3,) * spatial_dims
        common = _common(settings)
        self.stem = ConvBlock(
            in_channels,
            settings.channels[0],
            kernel_size=threes,
            stride=(2,) * spatial_dims,
            **common,
        )
        self.stages = nn.ModuleList(_stages(settings, spatial_dims))
        self.aspp = ASPP(settings, spatial_dims=spatial_dims)
        width = settings.aspp_channels
        self.skip_level = settings.skip_stride // 4  # 0: the stem, 1: the first stage
        self.skip = ConvBlock(
            settings.channels[self.skip_level],
            settings.skip_channels,
            kernel_size=ones,
            **common,
        )
        factor = settings.output_stride // settings.skip_stride
        self.up: nn.Module = nn.Identity()
        if factor > 1:
            self.up = Interpolate((factor,) * spatial_dims)
        self.decoder = nn.Sequential(
            ConvBlock(
                width + settings.skip_channels, width, kernel_size=threes, **common
            ),
            ConvBlock(width, width, kernel_size=threes, **common),
            make_convolution(width, out_channels, kernel_size=ones),
        )
        self.finish = Interpolate((settings.skip_stride,) * spatial_dims)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits at full resolution and the deepest features."""
        x = self.stem(x)
        features = [x]
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        pyramid = self.up(self.aspp(x))
        joined = torch.cat((pyramid, self.skip(features[self.skip_level])), dim=1)
        return [self.finish(self.decoder(joined))], x


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: parallel dilations see several scales.

    Own code because MONAI's ``SimpleASPP`` has neither the image pooling nor the
    normalization of each branch.
    """

    def __init__(self, settings: DeepLabSettings, *, spatial_dims: int) -> None:
        """Builds one branch per rate, a 1×1 branch and, if wanted, image pooling."""
        super().__init__()
        channels, width = settings.channels[-1], settings.aspp_channels
        ones, threes = (1,) * spatial_dims, (3,) * spatial_dims
        common = _common(settings)
        branches: list[nn.Module] = [
            ConvBlock(channels, width, kernel_size=ones, **common)
        ]
        branches += [
            ConvBlock(channels, width, kernel_size=threes, dilation=rate, **common)
            for rate in settings.rates
        ]
        if settings.image_pooling:
            branches.append(
                ImagePooling(
                    make_convolution(channels, width, kernel_size=ones),
                    spatial_dims=spatial_dims,
                )
            )
        self.branches = nn.ModuleList(branches)
        self.project = ConvBlock(
            width * len(branches), width, kernel_size=ones, **common
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (N, C_aspp, *spatial)."""
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        result: Tensor = self.project(joined)
        return result


class ImagePooling(nn.Module):
    """The mean over the whole image, mapped by a 1×1 convolution, at every voxel.

    Without normalization, which a single voxel per sample does not allow.
    """

    def __init__(self, conv: nn.Module, *, spatial_dims: int) -> None:
        super().__init__()
        self.conv = conv
        self.act = nn.ReLU(inplace=True)
        self.axes = tuple(range(2, 2 + spatial_dims))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the spatial size of `x`."""
        pooled = self.act(self.conv(x.mean(dim=self.axes, keepdim=True)))
        result: Tensor = pooled.expand(-1, -1, *x.shape[2:])
        return result


def _stages(settings: DeepLabSettings, spatial_dims: int) -> list[nn.Module]:
    """Residual stages; once the output stride is reached, dilation takes over."""
    stages: list[nn.Module] = []
    reached, dilation = 2, 1
    for before, width in zip(settings.channels, settings.channels[1:], strict=False):
        stride = 2 if reached < settings.output_stride else 1
        blocks = []
        for index in range(settings.blocks_per_stage):
            blocks.append(
                ResidualBlock(
                    width if index else before,
                    width,
                    kernel_size=(3,) * spatial_dims,
                    stride=(1 if index else stride,) * spatial_dims,
                    dilation=dilation,
                    **_common(settings),
                )
            )
            if stride == 1 and index == 0:
                dilation *= 2
        reached *= stride
        stages.append(nn.Sequential(*blocks))
    return stages


def _common(settings: DeepLabSettings) -> dict[str, Any]:
    return {
        "normalization": settings.normalization,
        "activation": settings.activation,
        "dropout": settings.dropout,
    }
