"""The wrapper that lets a network take any size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.core import Core


class SegmentationNetwork(nn.Module):
    """A core with everything around it that a caller should not care about.

    Sizes that the core cannot take are padded by repeating border voxels at the far
    end of each axis, and the logits are cut back, so that the output always has the
    spatial size of the input.
    """

    def __init__(
        self,
        core: Core,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        presence_head: bool = False,
    ) -> None:
        """Wraps a core.

        Args:
            core: The network proper.
            spatial_dims: 2 or 3.
            in_channels: Channels of the image.
            out_channels: Channels of the logits.
            presence_head: Whether to add a whole-image head.
        """
        super().__init__()
        self.core = core
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.presence = (
            nn.Linear(core.deep_channels, out_channels) if presence_head else None
        )

    @property
    def divisor(self) -> tuple[int, ...]:
        """Sizes that are multiples of this need no padding."""
        return self.core.divisor

    def padded_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size that the core sees; at least two voxels remain at its deepest."""
        smallest = 2 if max(size) <= max(self.divisor) else 1
        return tuple(
            max(-(-n // d), smallest) * d
            for n, d in zip(size, self.divisor, strict=True)
        )

    def forward(
        self, x: Tensor, *, with_presence: bool = False
    ) -> Tensor | list[Tensor] | tuple[Tensor | list[Tensor], Tensor]:
        """Logits of shape (N, L, *spatial).

        Args:
            x: Images of shape (N, C, *spatial).
            with_presence: Also return the presence head's logits.

        Returns:
            Logits. While training with deep supervision, a list of logits, full
            resolution first. With `with_presence`, a pair of that and the logits of
            presence, shape (N, L).

        Raises:
            ValueError: The input has the wrong number of axes or channels, or an
                empty axis.
        """
        self._check(x)
        size = x.shape[2:]
        padded = self.padded_size(size)
        outputs, deepest = self.core(pad_end(x, padded))
        outputs = [crop_end(logits, size, padded) for logits in outputs]
        logits = outputs if self.training and len(outputs) > 1 else outputs[0]
        if not with_presence:
            return logits
        if self.presence is None:
            raise ValueError("the network has no presence head; set presence_head")
        pooled = deepest.mean(dim=tuple(range(2, deepest.dim())))
        return logits, self.presence(pooled)

    def _check(self, x: Tensor) -> None:
        if x.dim() != self.spatial_dims + 2 or x.shape[1] != self.in_channels:
            axes = "(N, C, I, J, K)" if self.spatial_dims == 3 else "(N, C, I, J)"
            raise ValueError(
                f"expected images of shape {axes} with C = {self.in_channels}, "
                f"found {tuple(x.shape)}"
            )
        if 0 in x.shape:
            raise ValueError(f"an axis is empty: {tuple(x.shape)}")


def pad_end(x: Tensor, size: Sequence[int]) -> Tensor:
    """`x` with the last voxels of each axis repeated up to a size."""
    missing = [n - have for n, have in zip(size, x.shape[2:], strict=True)]
    if not any(missing):
        return x
    widths = [width for count in reversed(missing) for width in (0, count)]
    return nn.functional.pad(x, widths, mode="replicate")


def crop_end(logits: Tensor, size: Sequence[int], padded: Sequence[int]) -> Tensor:
    """Logits, possibly coarser than the input, without what stands for padding."""
    for axis, (wanted, whole) in enumerate(zip(size, padded, strict=True), start=2):
        have = logits.shape[axis]
        keep = -(-wanted * have // whole)
        if keep != have:
            logits = logits.narrow(axis, 0, keep)
    return logits


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def example_input(network: SegmentationNetwork, size: Sequence[int]) -> Tensor:
    """Zeros of shape (1, C, *size) on the network's device."""
    device = next(network.parameters()).device
    return torch.zeros((1, network.in_channels, *size), device=device)
