"""Back to full resolution, where a U-Net's stem has strided."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medseg.networks.blocks import ConvBlock, make_convolution
from medseg.networks.settings import UNetSettings, per_axis
from medseg.networks.unet_levels import block_choices, kernel_at
from medseg.networks.upsampling import make_upsampling


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
