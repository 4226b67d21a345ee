"""SegResNet and SwinUNETR from MONAI, as they are."""

from importlib.util import find_spec

from torch import Tensor, nn

from medseg.errors import SettingsError
from medseg.extras import how_to_install
from medseg.networks.core import Core
from medseg.networks.settings import SegResNetSettings, SwinUNETRSettings


class MonaiCore(Core):
    """A MONAI network with the interface of `Core`."""

    def __init__(
        self,
        body: nn.Module,
        *,
        divisor: tuple[int, ...],
        encoder_modules: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.body = body
        self.divisor = divisor
        self.encoder_modules = encoder_modules

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits at full resolution, twice: MONAI does not return deeper features."""
        logits = self.body(x)
        return [logits], logits


def make_segresnet(
    settings: SegResNetSettings,
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
) -> MonaiCore:
    """MONAI's SegResNet."""
    from monai.networks.nets.segresnet import SegResNet

    body = SegResNet(
        spatial_dims=spatial_dims,
        init_filters=settings.init_filters,
        in_channels=in_channels,
        out_channels=out_channels,
        dropout_prob=settings.dropout or None,
        blocks_down=settings.blocks_down,
        blocks_up=settings.blocks_up,
    )
    return MonaiCore(
        body,
        divisor=settings.divisor(spatial_dims),
        encoder_modules=("body.convInit.", "body.down_layers."),
    )


def make_swinunetr(
    settings: SwinUNETRSettings,
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
) -> MonaiCore:
    """MONAI's SwinUNETR.

    Raises:
        SettingsError: einops, which MONAI's transformers need, is not installed.
    """
    if find_spec("einops") is None:
        raise SettingsError(f"network swinunetr needs einops: {how_to_install('swin')}")
    from monai.networks.nets.swin_unetr import SwinUNETR

    body = SwinUNETR(
        in_channels=in_channels,
        out_channels=out_channels,
        depths=settings.depths,
        num_heads=settings.num_heads,
        feature_size=settings.feature_size,
        drop_rate=settings.dropout,
        spatial_dims=spatial_dims,
    )
    # MONAI's own cannot be traced
    body._check_input_size = _padded_already  # type: ignore[method-assign, assignment] # noqa: SLF001
    return MonaiCore(
        body,
        divisor=settings.divisor(spatial_dims),
        encoder_modules=("body.swinViT.", "body.encoder"),
    )


def _padded_already(shape: object) -> None:
    """In place of MONAI's check of sizes, which are multiples of the divisor here."""
