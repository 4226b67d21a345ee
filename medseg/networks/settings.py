"""Settings of every network; no torch, so that plans are read in milliseconds."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from medseg.plugins import (
    FORM,
    PluginSettings,
    PluginSource,
    require_installed,
    tagger,
)
from medseg.settings import Settings

Size: TypeAlias = Annotated[int, Field(ge=1, le=63)]
"""A stride or the side of a kernel."""

AxisSize: TypeAlias = Size | Annotated[tuple[Size, ...], Field(max_length=3)]
"""One number for every axis, or one number per axis."""

Length: TypeAlias = Annotated[int, Field(ge=1, le=1 << 16)]
"""Voxels along an axis."""

Channels: TypeAlias = Annotated[int, Field(ge=1, le=8192)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=100)]
"""Layers or blocks of a stage."""

Blocks: TypeAlias = Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]
"""Residual blocks of each stage."""

Stages: TypeAlias = Annotated[tuple[Channels, ...], Field(max_length=16)]
"""Channels of each stage. Bounds are far above what is of use; they keep a file that
was tampered with from filling the memory."""

Normalization: TypeAlias = Literal["instance", "batch", "group", "none"]
Activation: TypeAlias = Literal["leakyrelu", "relu", "gelu", "silu", "prelu", "elu"]
Downsampling: TypeAlias = Literal["strided", "maxpool", "avgpool"]
Upsampling: TypeAlias = Literal["transposed", "interpolate", "subpixel"]


def per_axis(size: AxisSize, spatial_dims: int) -> tuple[int, ...]:
    """One number per axis.

    Raises:
        ValueError: A tuple has another length than there are axes.
    """
    if isinstance(size, int):
        return (size,) * spatial_dims
    if len(size) != spatial_dims:
        raise ValueError(f"{size} has {len(size)} numbers, {spatial_dims} axes need it")
    return tuple(size)


def total_stride(strides: tuple[AxisSize, ...], spatial_dims: int) -> tuple[int, ...]:
    """Product of all strides along each axis."""
    axes = zip(*(per_axis(stride, spatial_dims) for stride in strides), strict=True)
    return tuple(prod(axis) for axis in axes)


class _NetworkSettings(Settings):
    """What every network of ours can have."""

    normalization: Normalization = "instance"
    """Layer after each convolution. ``group`` uses groups of up to 8 channels."""
    activation: Activation = "leakyrelu"
    """Non-linearity; ``leakyrelu`` has slope 0.01."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels dropped after each convolution while training."""
    presence_head: bool = False
    """Add a head that says for the whole patch which structures it holds, by global
    average pooling of the deepest features."""


class UNetSettings(_NetworkSettings):
    """U-Net: plain or residual encoder, padded or not, isotropic or not."""

    name: Literal["unet"] = "unet"
    channels: Stages = (32, 64, 128, 256, 320)
    """Feature channels of each stage, from fine to coarse."""
    strides: tuple[AxisSize, ...] = (1, 2, 2, 2, 2)
    """Down-sampling on entering each stage. A first stride of 2 computes everything
    at half resolution and up-samples at the end: about six times cheaper in 3D."""
    kernel_sizes: Size | tuple[AxisSize, ...] = 3
    """Kernel of each stage's convolutions; one number serves all stages."""
    convs_per_stage: Count | tuple[Count, ...] = 2
    """Convolutions (``plain``) or residual blocks (``residual``) of each encoder
    stage."""
    decoder_convs: Count | tuple[Count, ...] = 2
    """Convolutions of each decoder stage, from fine to coarse."""
    block: Literal["plain", "residual"] = "plain"
    """Encoder block; the decoder is plain, as in nnU-Net."""
    downsampling: Downsampling = "strided"
    """``strided``: the stage's first convolution; else pooling before the stage."""
    upsampling: Upsampling = "transposed"
    """``transposed`` convolution, linear ``interpolate`` and 1×1 convolution, or
    ``subpixel`` convolution."""
    upsampling_kernel: Size | None = None
    """Kernel of transposed convolutions; by default the stride, which leaves no
    checkerboard."""
    padding: Literal["same", "valid"] = "same"
    """``valid``: unpadded convolutions and centre-cropped skips, as in the original;
    the borders that this needs are mirrored."""
    deep_supervision: int | bool = False
    """Extra outputs at coarser resolutions while training; true: at every decoder
    stage."""
    attention: bool = False
    """Gate each skip by the coarser features (Oktay et al., arXiv:1804.03999)."""
    conv_bias: bool = False
    """Keep the bias of convolutions that a normalization follows, as nnU-Net does."""
    refinement: Literal["none", "image", "branch"] = "none"
    """With a first stride above 1, how details return at full resolution: ``image``
    sets the image beside the up-sampled features before one more convolution,
    ``branch`` sets a thin convolution of the image there."""
    refinement_channels: Channels = 8
    """Channels at full resolution when there is a refinement."""

    @model_validator(mode="after")
    def _consistent(self) -> "UNetSettings":
        stages = len(self.channels)
        if stages < 2:
            raise ValueError(f"channels {self.channels}: at least two stages needed")
        _check_length("strides", self.strides, stages)
        _check_length("kernel_sizes", self.kernel_sizes, stages)
        _check_length("convs_per_stage", self.convs_per_stage, stages)
        _check_length("decoder_convs", self.decoder_convs, stages - 1)
        self._check_kernels()
        self._check_padding()
        if not 0 <= int(self.deep_supervision) < stages:
            raise ValueError(
                f"deep_supervision {self.deep_supervision}: {stages} stages allow at "
                f"most {stages - 1} extra outputs"
            )
        if self.refinement != "none" and not self.strided_stem:
            raise ValueError("refinement needs a first stride above 1")
        return self

    def _check_kernels(self) -> None:
        kernels = self.kernel_sizes
        for kernel in (kernels,) if isinstance(kernels, int) else kernels:
            sizes = (kernel,) if isinstance(kernel, int) else kernel
            if any(size < 1 or size % 2 == 0 for size in sizes):
                raise ValueError(f"kernel_sizes {kernels}: odd sizes needed")

    def _check_padding(self) -> None:
        if self.padding == "same":
            return
        for key, wrong in (
            ("block residual", self.block == "residual"),
            ("deep_supervision", bool(self.deep_supervision)),
            ("a first stride above 1", self.strided_stem),
            ("attention", self.attention),
            ("downsampling strided", self.downsampling == "strided"),
        ):
            if wrong:
                raise ValueError(f"padding valid does not go with {key}")

    def require_used(self) -> None:
        """Refuses settings that the others make useless.

        Not part of validation, since models were saved with such.

        Raises:
            ValueError: There are some; says which to leave out.
        """
        if self.upsampling_kernel is not None and self.upsampling != "transposed":
            raise ValueError(
                f"upsampling_kernel {self.upsampling_kernel} belongs to transposed "
                f"convolutions, and upsampling is {self.upsampling}: leave one out"
            )

    @property
    def strided_stem(self) -> bool:
        """Whether the first stage already works below full resolution."""
        first = self.strides[0]
        return first != 1 if isinstance(first, int) else any(s != 1 for s in first)

    @property
    def extra_outputs(self) -> int:
        """Number of coarser outputs while training."""
        if self.deep_supervision is True:
            return len(self.channels) - (1 if self.strided_stem else 2)
        return int(self.deep_supervision)

    def divisor(self, spatial_dims: int) -> tuple[int, ...]:
        """Patch sizes divisible by this need no padding."""
        return total_stride(self.strides, spatial_dims)


def _check_length(key: str, values: int | tuple[AxisSize, ...], stages: int) -> None:
    if not isinstance(values, int) and len(values) != stages:
        raise ValueError(f"{key} has {len(values)} entries, {stages} stages need it")


class FCNSettings(_NetworkSettings):
    """FCN-32s, FCN-16s or FCN-8s on a VGG16-style encoder."""

    name: Literal["fcn"] = "fcn"
    variant: Literal[32, 16, 8] = 8
    """Stride of the finest features that are scored."""
    channels: tuple[Channels, Channels, Channels, Channels, Channels] = (
        32,
        64,
        128,
        256,
        256,
    )
    """Channels of the five blocks; VGG16 has (64, 128, 256, 512, 512)."""
    convs_per_block: tuple[Count, Count, Count, Count, Count] = (2, 2, 3, 3, 3)
    """Convolutions of each block, as in VGG16."""
    head_channels: Channels = 512
    """Channels of the two former fully connected layers; VGG16 has 4096."""
    head_kernel: Size = 3
    """Kernel of the first of them, odd; VGG16 has 7."""
    normalization: Normalization = "batch"
    """Layer after each convolution; VGG16 has ``none``."""
    activation: Activation = "relu"
    """Non-linearity."""
    encoder_weights: Path | None = None
    """Local file with VGG16 weights in torchvision's layout (``.pth`` or
    ``.safetensors``); filters are adapted to the number of channels. Its fully
    connected layers are taken where `head_channels` and `head_kernel` are VGG16's."""

    @model_validator(mode="after")
    def _consistent(self) -> "FCNSettings":
        if self.head_kernel % 2 == 0:
            raise ValueError(f"head_kernel {self.head_kernel}: an odd size is needed")
        return self

    def divisor(self, spatial_dims: int) -> tuple[int, ...]:
        """Patch sizes divisible by this need no padding."""
        return (32,) * spatial_dims


class DeepLabSettings(_NetworkSettings):
    """DeepLabV3+: residual encoder with dilation, ASPP, light decoder."""

    name: Literal["deeplab"] = "deeplab"
    channels: Annotated[Stages, Field(min_length=2)] = (32, 64, 128, 256)
    """Channels of the stem and of each following residual stage."""
    blocks_per_stage: Count = 2
    """Residual blocks of each stage."""
    output_stride: Literal[4, 8, 16] = 8
    """Stride of the features that ASPP sees; deeper stages dilate instead."""
    rates: Annotated[tuple[Size, ...], Field(min_length=1, max_length=16)] = (2, 4, 6)
    """Dilation of ASPP's 3×3 branches; the paper has (6, 12, 18) at stride 16 of
    513 pixels."""
    aspp_channels: Channels = 128
    """Channels of each ASPP branch and of the decoder; the paper has 256."""
    image_pooling: bool = True
    """Give ASPP a branch of global average pooling. The network then no longer
    shifts with its input."""
    skip_stride: Literal[2, 4] = 4
    """Stride of the fine features in the decoder, from which logits are interpolated.
    The paper has 4; structures of a few voxels need 2."""
    skip_channels: Channels = 48
    """Channels of the fine features in the decoder."""
    normalization: Normalization = "batch"
    """Layer after each convolution."""
    activation: Activation = "relu"
    """Non-linearity."""

    @model_validator(mode="after")
    def _consistent(self) -> "DeepLabSettings":
        needed = self.output_stride.bit_length() - 1  # halvings, the stem's included
        if len(self.channels) < needed:
            raise ValueError(
                f"channels {self.channels}: output_stride {self.output_stride} takes "
                f"{needed} halvings, so at least {needed} channels"
            )
        return self

    def divisor(self, spatial_dims: int) -> tuple[int, ...]:
        """Patch sizes divisible by this need no padding."""
        return (self.output_stride,) * spatial_dims


class SegResNetSettings(Settings):
    """MONAI's SegResNet as it is (Myronenko, arXiv:1810.11654)."""

    name: Literal["segresnet"] = "segresnet"
    init_filters: int = Field(default=16, ge=8, le=1024, multiple_of=8)
    """Channels at full resolution."""
    blocks_down: Blocks = (1, 2, 2, 4)
    """Residual blocks of each encoder stage."""
    blocks_up: Blocks = (1, 1, 1)
    """Residual blocks of each decoder stage."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after the first convolution."""

    def divisor(self, spatial_dims: int) -> tuple[int, ...]:
        """Patch sizes divisible by this need no padding."""
        return (2 ** (len(self.blocks_down) - 1),) * spatial_dims


class SwinUNETRSettings(Settings):
    """MONAI's SwinUNETR as it is (Hatamizadeh et al., arXiv:2201.01266)."""

    name: Literal["swinunetr"] = "swinunetr"
    feature_size: int = Field(default=24, ge=12, le=192, multiple_of=12)
    """Channels of the first stage."""
    depths: tuple[Count, Count, Count, Count] = (2, 2, 2, 2)
    """Transformer blocks of each stage."""
    num_heads: tuple[Count, Count, Count, Count] = (3, 6, 12, 24)
    """Attention heads of each stage."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout inside the transformer blocks."""

    def divisor(self, spatial_dims: int) -> tuple[int, ...]:
        """Patch sizes divisible by this need no padding."""
        return (32,) * spatial_dims


class PluginNetworkSettings(PluginSettings):
    """A network of MONAI's or of the user's own, by ``package.module:Name``.

    It is built with `args`, and with ``spatial_dims``, ``in_channels`` and
    ``out_channels`` where it takes them; images (N, C, *spatial) go in, logits
    (N, L, *spatial) come out. What is left out below is found by trial and kept.
    """

    multiple_of: Length | tuple[Length, ...] | None = None
    """Sizes along each axis must be multiples of it."""
    smallest_size: Length | tuple[Length, ...] | None = None
    """No axis may be shorter."""
    only_size: tuple[Length, ...] | None = None
    """The one size that it takes, where there is only one."""
    source: PluginSource | None = None
    """Where its code came from when it was trained."""

    @model_validator(mode="before")
    @classmethod
    def _is_registered(cls, values: Any) -> Any:
        """Names the package of a registered name that is not there."""
        if isinstance(values, Mapping) and isinstance(values.get("source"), Mapping):
            source = PluginSource.model_validate(values["source"])
            require_installed(str(values.get("name")), source)
        return values

    def divisor(self, spatial_dims: int) -> tuple[int, ...]:
        """Patch sizes divisible by this need no padding."""
        return per_axis(self.multiple_of or 1, spatial_dims)


NetworkSettings: TypeAlias = Annotated[
    Annotated[UNetSettings, Tag("unet")]
    | Annotated[FCNSettings, Tag("fcn")]
    | Annotated[DeepLabSettings, Tag("deeplab")]
    | Annotated[SegResNetSettings, Tag("segresnet")]
    | Annotated[SwinUNETRSettings, Tag("swinunetr")]
    | Annotated[PluginNetworkSettings, Tag(FORM)],
    Discriminator(tagger("unet", "fcn", "deeplab", "segresnet", "swinunetr")),
]
"""Settings of one network, told apart by ``name``."""
