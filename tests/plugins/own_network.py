"""A user's network: two convolutions at half resolution."""

import torch
from torch import Tensor, nn


class HalfNet(nn.Module):
    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, width: int = 4
    ) -> None:
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[spatial_dims]
        self.down = conv(in_channels, width, 3, stride=2, padding=1)
        self.middle = conv(width, width, 3, padding=1)
        self.up = up(width, out_channels, 2, stride=2)
        self.skip = conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.relu(self.middle(torch.relu(self.down(x))))
        return self.up(found) + self.skip(x)
