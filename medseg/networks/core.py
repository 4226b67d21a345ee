"""What every network's core promises to the wrapper around it."""

from torch import Tensor, nn


class Core(nn.Module):
    """Logits at one or several resolutions, for sizes that fit exactly.

    Attributes:
        divisor: Sizes along each axis must be multiples of this.
        deep_channels: Channels of the deepest features.
    """

    divisor: tuple[int, ...]
    deep_channels: int

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits, full resolution first, and the deepest features.

        Coarser logits follow only while training with deep supervision.
        """
        raise NotImplementedError
