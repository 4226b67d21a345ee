"""From settings to a network."""

from medseg.errors import SettingsError
from medseg.networks.blocks import initialize
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import NetworkSettings, UNetSettings
from medseg.networks.unet import UNetCore


def build_network(
    settings: NetworkSettings,
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
) -> SegmentationNetwork:
    """A network with fresh weights, drawn from torch's global generator.

    Args:
        settings: Which network, and its numbers.
        spatial_dims: 2 for images (N, C, I, J), 3 for (N, C, I, J, K).
        in_channels: Channels of the image.
        out_channels: Channels of the logits.

    Returns:
        A module that maps (N, C, *spatial) of any size to logits (N, L, *spatial);
        in training mode with deep supervision to a list of logits, full resolution
        first.

    Raises:
        SettingsError: The settings do not fit the number of axes.
    """
    if not isinstance(settings, UNetSettings):
        raise SettingsError(f"network {settings.name}: not available")
    try:
        core = UNetCore(
            settings,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
        )
    except ValueError as error:
        raise SettingsError(f"network {settings.name}: {error}") from error
    initialize(core)
    return SegmentationNetwork(
        core,
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=out_channels,
        presence_head=settings.presence_head,
    )
