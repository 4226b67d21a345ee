"""One small network of each kind, shared by the tests of this folder."""

import torch

from medseg.networks.build import build_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.presets import original_unet
from medseg.networks.settings import (
    DeepLabSettings,
    FCNSettings,
    NetworkSettings,
    SegResNetSettings,
    SwinUNETRSettings,
    UNetSettings,
)

SMALL = {"channels": (8, 16, 16), "strides": (1, 2, 2)}
STEM = {"channels": (8, 16, 16), "strides": (2, 2, 2)}
NETWORKS: dict[str, NetworkSettings] = {
    "unet": UNetSettings(**SMALL),
    "residual": UNetSettings(block="residual", **SMALL),
    "attention": UNetSettings(attention=True, **SMALL),
    "maxpool": UNetSettings(downsampling="maxpool", **SMALL),
    "avgpool": UNetSettings(downsampling="avgpool", **SMALL),
    "interpolate": UNetSettings(upsampling="interpolate", **SMALL),
    "subpixel": UNetSettings(upsampling="subpixel", **SMALL),
    "kernel3": UNetSettings(upsampling_kernel=3, **SMALL),
    "kernel4": UNetSettings(upsampling_kernel=4, **SMALL),
    "batch": UNetSettings(normalization="batch", activation="relu", **SMALL),
    "group": UNetSettings(normalization="group", activation="gelu", **SMALL),
    "stem": UNetSettings(**STEM),
    "stem_image": UNetSettings(refinement="image", **STEM),
    "stem_branch": UNetSettings(refinement="branch", **STEM),
    "stem_residual": UNetSettings(block="residual", **STEM),
    "original": original_unet(stages=3, width=8),
    "fcn32": FCNSettings(
        variant=32, channels=(8, 8, 16, 16, 16), head_channels=16, head_kernel=3
    ),
    "fcn16": FCNSettings(
        variant=16, channels=(8, 8, 16, 16, 16), head_channels=16, head_kernel=3
    ),
    "fcn8": FCNSettings(
        variant=8, channels=(8, 8, 16, 16, 16), head_channels=16, head_kernel=3
    ),
    "deeplab": DeepLabSettings(channels=(8, 8, 16, 16), aspp_channels=16),
    "deeplab4": DeepLabSettings(
        channels=(8, 8, 16, 16), aspp_channels=16, output_stride=4, image_pooling=False
    ),
    "deeplab16": DeepLabSettings(
        channels=(8, 8, 16, 16), aspp_channels=16, output_stride=16
    ),
    "deeplab_fine": DeepLabSettings(
        channels=(8, 8, 16, 16), aspp_channels=16, skip_stride=2
    ),
    "segresnet": SegResNetSettings(init_filters=8),
    "swinunetr": SwinUNETRSettings(feature_size=12),
}


def build(
    settings: NetworkSettings, dims: int = 2, inputs: int = 1, outputs: int = 2
) -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network(
        settings, spatial_dims=dims, in_channels=inputs, out_channels=outputs
    )


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
