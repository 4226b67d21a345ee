"""Networks: tensors in, logits out. Importing this loads no torch."""

from medseg.networks.settings import (
    DeepLabSettings,
    FCNSettings,
    NetworkSettings,
    PluginNetworkSettings,
    SegResNetSettings,
    SwinUNETRSettings,
    UNetSettings,
)

__all__ = [
    "DeepLabSettings",
    "FCNSettings",
    "NetworkSettings",
    "PluginNetworkSettings",
    "SegResNetSettings",
    "SwinUNETRSettings",
    "UNetSettings",
]
