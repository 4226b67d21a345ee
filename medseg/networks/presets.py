"""Published networks by name, as settings."""

from typing import Literal

from medseg.networks.settings import AxisSize, UNetSettings

RESENC_MEMORY_GB = {"M": 8, "L": 24, "XL": 40}
"""GPU memory that nnU-Net's residual-encoder presets plan for. Their architecture is
one; the memory decides patch and batch size (Isensee et al., arXiv:2404.09556)."""

RESENC_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6, 6, 6)


def original_unet(*, stages: int = 5, width: int = 64) -> UNetSettings:
    """The U-Net of Ronneberger et al., arXiv:1505.04597: 572 pixels in, 388 out."""
    return UNetSettings(
        channels=tuple(width * 2**level for level in range(stages)),
        strides=(1,) + (2,) * (stages - 1),
        normalization="none",
        activation="relu",
        downsampling="maxpool",
        padding="valid",
    )


def residual_unet(
    strides: tuple[AxisSize, ...],
    *,
    kernel_sizes: int | tuple[AxisSize, ...] = 3,
    spatial_dims: Literal[2, 3] = 3,
) -> UNetSettings:
    """nnU-Net's residual-encoder U-Net for given strides.

    Args:
        strides: Of each stage, the first one 1.
        kernel_sizes: Of each stage.
        spatial_dims: Channels are limited to 320 in 3D and 512 in 2D.

    References:
        Isensee et al., arXiv:2404.09556; ``ResEncUNetPlanner`` in nnU-Net v2.
    """
    largest = 320 if spatial_dims == 3 else 512
    return UNetSettings(
        channels=tuple(min(32 * 2**level, largest) for level in range(len(strides))),
        strides=strides,
        kernel_sizes=kernel_sizes,
        convs_per_stage=RESENC_BLOCKS[: len(strides)],
        decoder_convs=1,
        block="residual",
        deep_supervision=True,
        conv_bias=True,
    )
