"""The expanding path of a U-Net, which joins the skips."""

import torch
from torch import Tensor, nn

from medseg.networks.attention import AttentionGate
from medseg.networks.settings import UNetSettings, per_axis
from medseg.networks.unet_levels import count_at, stage_of_convolutions
from medseg.networks.unpadded import CentreCrop
from medseg.networks.upsampling import make_upsampling


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
