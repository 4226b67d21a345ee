"""The interface of a network's core, which the wrapper around it relies on."""

from torch import Tensor, nn

from medseg.errors import SettingsError
from medseg.networks.arithmetic import nearest_sizes


class Core(nn.Module):
    """Logits at one or several resolutions, for sizes that fit exactly.

    Attributes:
        divisor: Strides multiply to this along each axis.
        deep_channels: Channels of the deepest features; 0 where they are not shown.
        encoder_modules: What the names of the encoder's modules begin with; empty where
            that is not known.
    """

    divisor: tuple[int, ...]
    deep_channels: int = 0
    encoder_modules: tuple[str, ...] = ()

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits, full resolution first, and the deepest features.

        Coarser logits follow only while training with deep supervision.
        """
        raise NotImplementedError

    def axis_output(self, size: int, axis: int) -> int | None:
        """Voxels along an axis that come out; None if the input does not fit."""
        return size if size > 0 and size % self.divisor[axis] == 0 else None

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial size of the logits at full resolution.

        Raises:
            SettingsError: The size does not fit; the nearest that do are named.
        """
        return tuple(self._checked(n, axis) for axis, n in enumerate(size))

    def output_of(self, size: tuple[int, ...]) -> tuple[int, ...] | None:
        """Spatial size of the logits; None where the size does not fit as it is."""
        found = [self.axis_output(n, axis) for axis, n in enumerate(size)]
        known = [n for n in found if n is not None]
        return tuple(known) if len(known) == len(found) else None

    def input_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The smallest input whose logits are at least as large as `size`."""
        return tuple(self._needed(n, axis) for axis, n in enumerate(size))

    def _needed(self, size: int, axis: int) -> int:
        candidate = size
        while (self.axis_output(candidate, axis) or 0) < size:
            candidate += 1
        return candidate

    def _checked(self, size: int, axis: int) -> int:
        found = self.axis_output(size, axis)
        if found is not None:
            return found
        below, above = nearest_sizes(
            size, lambda n: self.axis_output(n, axis) is not None
        )
        good = " or ".join(str(n) for n in (below, above) if n is not None)
        raise SettingsError(
            f"axis {axis} of the input has {size} voxels, which this network "
            f"cannot take; use {good}"
        )
