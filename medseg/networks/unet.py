"""U-Net: contracting path, expanding path, skips between them.

References:
    Ronneberger et al., arXiv:1505.04597 (unpadded, 2D); Çiçek et al.,
    arXiv:1606.06650 (3D); Isensee et al., doi:10.1038/s41592-020-01008-z and
    arXiv:2404.09556 (strides and kernels from the data, residual encoder).
"""

from torch import Tensor, nn

from medseg.networks.blocks import make_convolution
from medseg.networks.core import Core
from medseg.networks.full_resolution_head import FullResolutionHead
from medseg.networks.settings import UNetSettings
from medseg.networks.unet_decoder import Decoder
from medseg.networks.unet_encoder import Encoder
from medseg.networks.unpadded import unpadded_size


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
