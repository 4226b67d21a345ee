"""Plans and networks that take a moment, for windows and tiles."""

import numpy as np
import torch

from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan

TURNS = [np.diag([1, 1, 1]), np.diag([-1, 1, -1]), np.eye(3)[[2, 0, 1]]]
CPU = torch.device("cpu")


def plan(spacing: tuple[float, ...], window: tuple[int, ...], classes: int) -> Plan:
    return Plan(
        name="test",
        spatial_dims=len(window),
        target_spacing=spacing,
        channels=(ChannelPlan(name="MR"),),
        labels=LabelScheme(names={f"s{n}": 2 * n for n in range(1, classes)}),
        patch_size=window,
        batch_size=1,
        network=UNetSettings(channels=(4, 8), strides=(1, 2)),
    )


def random_network(dims: int, classes: int) -> torch.nn.Module:
    """Depends on every voxel's neighbours, and on where it lies in the window."""
    conv = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims]
    torch.manual_seed(0)
    layer: torch.nn.Module = conv(1, classes, 3, padding=1)
    return layer


class Pointwise(torch.nn.Module):
    """Two structures where the image is bright; no voxel looks at another."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((torch.zeros_like(x), x - 1, 2 * x - 3), dim=1)


UNET = UNetSettings(channels=(4, 6, 8), strides=(1, 2, 2), normalization="batch")
