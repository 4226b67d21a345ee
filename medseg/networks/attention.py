"""Attention gates: the coarser features say which skipped voxels matter."""

import torch
from torch import Tensor, nn

from medseg.networks.blocks import ConvBlock, make_activation, make_convolution
from medseg.networks.settings import Normalization


class AttentionGate(nn.Module):
    """Scales each voxel of a skip by a number in (0, 1).

    Own code because MONAI's gate fixes batch normalization, which fails at the batch
    sizes of 3D.

    References:
        Oktay et al., arXiv:1804.03999, equations 1 and 2 (additive gate).
    """

    def __init__(
        self, channels: int, *, spatial_dims: int, normalization: Normalization
    ) -> None:
        super().__init__()
        ones = (1,) * spatial_dims
        hidden = max(channels // 2, 1)
        self.skip, self.signal = (
            ConvBlock(
                channels,
                hidden,
                kernel_size=ones,
                normalization=normalization,
                activation=None,
            )
            for _ in range(2)
        )
        self.act = make_activation("relu")
        self.score = make_convolution(hidden, 1, kernel_size=ones)

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """The skip, gated; both inputs have shape (N, C, *spatial)."""
        mixed = self.act(self.skip(skip) + self.signal(signal))
        return skip * torch.sigmoid(self.score(mixed))
