"""The interface of a network's core, and sizes before and after its layers.

References:
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
    arXiv:1603.07285; the formulas hold for each axis on its own.
"""

from collections.abc import Callable

from torch import Tensor, nn

from medseg.errors import SettingsError


def effective_kernel(kernel: int, dilation: int = 1) -> int:
    """Extent of a dilated kernel: 1 + (k − 1)·d."""
    return 1 + (kernel - 1) * dilation


def convolution_size(
    size: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Output size of a convolution: ⌊(n + 2p − k_eff) / s⌋ + 1.

    Raises:
        ValueError: The kernel is larger than the padded input.
    """
    room = size + 2 * padding - effective_kernel(kernel, dilation)
    if room < 0:
        raise ValueError(
            f"a kernel of extent {effective_kernel(kernel, dilation)} does not fit "
            f"into {size} voxels with padding {padding}"
        )
    return room // stride + 1


def transposed_size(
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> int:
    """Output size of a transposed convolution: s(n − 1) + k_eff − 2p + o."""
    extent = effective_kernel(kernel, dilation)
    return stride * (size - 1) + extent - 2 * padding + output_padding


def nearest_sizes(
    size: int, fits: Callable[[int], bool], *, reach: int = 4096
) -> tuple[int | None, int | None]:
    """The largest size below and the smallest size above that fit.

    Args:
        size: A size that does not fit.
        fits: Whether a size fits.
        reach: How far to look.
    """
    below = next((n for n in range(size - 1, 0, -1) if fits(n)), None)
    above = next((n for n in range(size + 1, size + reach) if fits(n)), None)
    return below, above


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
