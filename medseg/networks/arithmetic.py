"""Sizes before and after layers, along one axis.

References:
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
    arXiv:1603.07285; the formulas hold for each axis on its own.
"""

from collections.abc import Callable


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


def pooling_size(
    size: int, kernel: int, *, stride: int | None = None, padding: int = 0
) -> int:
    """Output size of a pooling, which is that of a convolution; stride k if None.

    Raises:
        ValueError: The window is larger than the padded input.
    """
    return convolution_size(
        size, kernel, stride=kernel if stride is None else stride, padding=padding
    )


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
