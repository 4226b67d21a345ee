"""From settings to a network."""

from medseg.errors import ONE_AXIS, PluginError, SettingsError
from medseg.networks.blocks import initialize
from medseg.networks.core import Core
from medseg.networks.deeplab import DeepLabCore
from medseg.networks.fcn import FCNCore, initialize_bilinear
from medseg.networks.monai_networks import make_segresnet, make_swinunetr
from medseg.networks.network import SegmentationNetwork
from medseg.networks.plugin_network import make_plugin_network
from medseg.networks.settings import (
    DeepLabSettings,
    FCNSettings,
    NetworkSettings,
    SegResNetSettings,
    SwinUNETRSettings,
    UNetSettings,
)
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
        PluginError: A network by path cannot be found, was not allowed, or is none.
    """
    if spatial_dims == 1:
        raise SettingsError(f"network {settings.name}: {ONE_AXIS}")
    try:
        core = _build_core(settings, spatial_dims, in_channels, out_channels)
    except PluginError:
        raise
    except ValueError as error:
        raise SettingsError(f"network {settings.name}: {error}") from error
    return SegmentationNetwork(
        core,
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=out_channels,
        presence_head=getattr(settings, "presence_head", False),
    )


def _build_core(
    settings: NetworkSettings, spatial_dims: int, in_channels: int, out_channels: int
) -> Core:
    """The network proper, initialised; those of others keep their initialisation."""
    sizes = {
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
    }
    core: Core
    if isinstance(settings, UNetSettings):
        core = UNetCore(settings, **sizes)
        initialize(core)
    elif isinstance(settings, DeepLabSettings):
        core = DeepLabCore(settings, **sizes)
        initialize(core)
    elif isinstance(settings, FCNSettings):
        core = FCNCore(settings, **sizes)
        initialize(core)
        initialize_bilinear(core)
    elif isinstance(settings, SegResNetSettings):
        core = make_segresnet(settings, **sizes)
    elif isinstance(settings, SwinUNETRSettings):
        core = make_swinunetr(settings, **sizes)
    else:
        core = make_plugin_network(settings, **sizes)
    return core
