"""The layers of a network with their sizes and what each of them sees."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from medseg.networks.analysis.receptive_field import layer_fields
from medseg.networks.deeplab import ImagePooling
from medseg.networks.network import SegmentationNetwork
from medseg.networks.unet import CentreCrop
from medseg.networks.upsampling import Interpolate, PixelShuffle

SHOWN = (
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.Upsample,
    nn.Linear,
    CentreCrop,
    ImagePooling,
    Interpolate,
    PixelShuffle,
)


@dataclass(frozen=True)
class Layer:
    """One layer that changes sizes or mixes voxels.

    Attributes:
        name: Within the network.
        kind: Such as ``Conv3d``.
        kernel: Sizes along the axes; empty where there is no kernel.
        stride: Along the axes; empty likewise.
        dilation: Along the axes; empty likewise.
        shape: Channels and spatial size of its output.
        field: Input voxels that one of its voxels sees along each axis; None for the
            whole image; empty where that is not known.
        parameters: Numbers that it learns.
    """

    name: str
    kind: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    shape: tuple[int, ...]
    field: tuple[int | None, ...]
    parameters: int


def list_layers(network: SegmentationNetwork, size: Sequence[int]) -> list[Layer]:
    """Layers in the order of computation, for an input size.

    Nothing is computed: the network runs on tensors without memory. Crops and
    concatenations of features are among them. Unpadded convolutions are shown as they
    shrink the input, where they can take its size; else on its mirrored borders.
    """
    fields = layer_fields(network) or {}
    ghost = copy.deepcopy(network).to("meta").eval()
    layers: list[Layer] = []

    def note(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, __: object, output: torch.Tensor) -> None:
            layers.append(_describe(name, module, output, fields.get(name, ())))

        return hook

    for name, module in ghost.core.named_modules():
        if isinstance(module, SHOWN):
            module.register_forward_hook(note(name, module))
    x = torch.zeros((1, network.in_channels, *size), device="meta")
    shrinks = any(network.output_margin)
    with torch.no_grad(), _Joins(ghost.core, layers):
        if shrinks and network.core.output_of(tuple(size)) is not None:
            ghost.forward_centre(x)
        else:
            ghost(x)
    if ghost.presence is not None:
        layers.append(_presence_layer(ghost.presence, network.spatial_dims))
    return layers


def _presence_layer(head: nn.Linear, spatial_dims: int) -> Layer:
    """The presence head: the mean over the deepest features, then a linear layer."""
    nothing: tuple[int, ...] = ()
    numbers = sum(p.numel() for p in head.parameters())
    field = (None,) * spatial_dims
    shape = (head.out_features,)
    name = "presence head"
    return Layer(name, "Linear", nothing, nothing, nothing, shape, field, numbers)


class _Joins(TorchFunctionMode):
    """Notes concatenations of features, by the module in which they happen."""

    def __init__(self, core: nn.Module, layers: list[Layer]) -> None:
        super().__init__()
        self._within: list[str] = [""]
        self._layers = layers
        for name, module in core.named_modules():
            module.register_forward_pre_hook(self._entering(name))
            module.register_forward_hook(self._leaving, always_call=True)

    def _entering(self, name: str) -> Any:
        def hook(*_: object) -> None:
            self._within.append(name)

        return hook

    def _leaving(self, *_: object) -> None:
        self._within.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.cat and result.dim() > 3:
            name = ".".join(filter(None, (self._within[-1], "concatenation")))
            nothing: tuple[int, ...] = ()
            shape = tuple(result.shape[1:])
            self._layers.append(
                Layer(name, "cat", nothing, nothing, nothing, shape, (), 0)
            )
        return result


def _describe(
    name: str,
    module: nn.Module,
    output: torch.Tensor,
    field: tuple[int | None, ...],
) -> Layer:
    dims = output.dim() - 2
    return Layer(
        name=name,
        kind=type(module).__name__,
        kernel=_sizes(getattr(module, "kernel_size", ()), dims),
        stride=_sizes(getattr(module, "stride", ()), dims),
        dilation=_sizes(getattr(module, "dilation", ()), dims),
        shape=tuple(output.shape[1:]),
        field=field,
        parameters=sum(p.numel() for p in module.parameters()),
    )


def _sizes(value: Any, dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)
