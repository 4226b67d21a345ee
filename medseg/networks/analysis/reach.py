"""Which input voxels each voxel of a layer depends on, along one axis.

Every layer of a convolutional network treats its axes alike and apart, so that
dependence along one axis is a first and a last input voxel per voxel. Rules are those
of convolution arithmetic (Dumoulin and Visin, arXiv:1603.07285), applied to real
positions rather than to one representative: phases of strides, zero padding and
borders come out exactly.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from medseg.networks.core import convolution_size, transposed_size
from medseg.networks.deeplab import ImagePooling
from medseg.networks.unet import CentreCrop
from medseg.networks.upsampling import Interpolate, PixelShuffle

NOTHING = np.iinfo(np.int64).max // 4
"""First voxel of an empty dependence; the last is its negative."""

JOINS = {torch.cat, operator.add, operator.mul, torch.add, torch.mul, operator.iadd}
KEEPS = {torch.sigmoid, torch.relu}


@dataclass(frozen=True)
class Reach:
    """First and last input voxel that each voxel of a layer depends on.

    Attributes:
        first: Shape (n,).
        last: Shape (n,); below `first` where there is no dependence.
    """

    first: np.ndarray
    last: np.ndarray

    @property
    def size(self) -> int:
        """Voxels of the layer along the axis."""
        return len(self.first)

    @property
    def extent(self) -> np.ndarray:
        """Number of input voxels from the first to the last, shape (n,)."""
        extent: np.ndarray = np.maximum(self.last - self.first + 1, 0)
        return extent


def input_reach(size: int) -> Reach:
    """Every input voxel depends on itself."""
    return Reach(np.arange(size), np.arange(size))


def gather(reach: Reach, taps: np.ndarray) -> Reach:
    """The union over taps.

    Args:
        reach: Of the layer's input.
        taps: Positions in that input, shape (n_out, number of taps); those outside
            of it, such as zero padding, contribute nothing.
    """
    inside = (taps >= 0) & (taps < reach.size)
    index = np.clip(taps, 0, reach.size - 1)
    first = np.where(inside, reach.first[index], NOTHING).min(axis=1)
    last = np.where(inside, reach.last[index], -NOTHING).max(axis=1)
    return Reach(first, last)


def union(*reaches: Reach) -> Reach:
    """What sums, products and concatenations depend on."""
    return Reach(
        np.minimum.reduce([reach.first for reach in reaches]),
        np.maximum.reduce([reach.last for reach in reaches]),
    )


def _windows(
    reach: Reach, kernel: int, stride: int, padding: int, dilation: int = 1
) -> Reach:
    """Convolution or pooling."""
    count = convolution_size(
        reach.size, kernel, stride=stride, padding=padding, dilation=dilation
    )
    starts = np.arange(count)[:, None] * stride - padding
    return gather(reach, starts + np.arange(kernel) * dilation)


def _of(value: Any, axis: int) -> int:
    return int(value[axis] if isinstance(value, tuple | list) else value)


def _convolution(layer: nn.Conv2d | nn.Conv3d, reach: Reach, axis: int) -> Reach:
    return _windows(
        reach,
        layer.kernel_size[axis],
        layer.stride[axis],
        _of(layer.padding, axis),
        layer.dilation[axis],
    )


def _pooling(layer: Any, reach: Reach, axis: int) -> Reach:
    return _windows(
        reach,
        _of(layer.kernel_size, axis),
        _of(layer.stride, axis),
        _of(layer.padding, axis),
    )


def _transposed(
    layer: nn.ConvTranspose2d | nn.ConvTranspose3d, reach: Reach, axis: int
) -> Reach:
    kernel, stride = layer.kernel_size[axis], layer.stride[axis]
    padding = _of(layer.padding, axis)
    count = transposed_size(
        reach.size,
        kernel,
        stride=stride,
        padding=padding,
        output_padding=layer.output_padding[axis],
        dilation=layer.dilation[axis],
    )
    offset = np.arange(count)[:, None] + padding
    offset = offset - np.arange(kernel) * layer.dilation[axis]
    taps = offset // stride
    if getattr(layer, "borders", 0):  # repeated: beyond them lie the border voxels
        taps = np.clip(taps, 0, reach.size - 1)
    return gather(reach, np.where(offset % stride == 0, taps, -1))


def _interpolation(reach: Reach, factor: float, *, corners: bool = False) -> Reach:
    """Linear interpolation: one or two neighbours; borders are repeated."""
    count = int(reach.size * factor)
    where = np.arange(count)
    if corners:
        position = where * ((reach.size - 1) / max(count - 1, 1))
    else:
        position = (where + 0.5) / factor - 0.5
    low = np.floor(position + 1e-9).astype(int)
    high = np.where(position - low > 1e-6, low + 1, low)
    return gather(reach, np.clip(np.stack([low, high], axis=1), 0, reach.size - 1))


def _upsample(layer: nn.Upsample, reach: Reach, axis: int) -> Reach:
    factors = np.atleast_1d(np.asarray(layer.scale_factor, dtype=float))
    factor = float(factors[axis if len(factors) > 1 else 0])
    if layer.mode == "nearest":
        return _repeat(reach, int(factor))
    return _interpolation(reach, factor, corners=bool(layer.align_corners))


def _repeat(reach: Reach, factor: int) -> Reach:
    return Reach(np.repeat(reach.first, factor), np.repeat(reach.last, factor))


def _everything(reach: Reach) -> Reach:
    """A mean over the whole axis, given to every voxel."""
    shape = reach.first.shape
    return Reach(np.full(shape, reach.first.min()), np.full(shape, reach.last.max()))


def _crop(reach: Reach, like: Reach) -> Reach:
    start = (reach.size - like.size) // 2
    window = slice(start, start + like.size)
    return Reach(reach.first[window], reach.last[window])


Rule = Callable[[Any, Reach, int], Reach]
RULES: tuple[tuple[tuple[type, ...], Rule], ...] = (
    ((nn.Conv2d, nn.Conv3d), _convolution),
    ((nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed),
    ((nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d), _pooling),
    ((nn.Upsample,), _upsample),
    (
        (Interpolate,),
        lambda layer, reach, axis: _interpolation(reach, layer.factors[axis]),
    ),
    ((PixelShuffle,), lambda layer, reach, axis: _repeat(reach, layer.factors[axis])),
    ((ImagePooling,), lambda layer, reach, axis: _everything(reach)),
)


def walk(graph: fx.GraphModule, size: int, axis: int) -> dict[fx.Node, Reach]:
    """The reach of every layer along one axis.

    Normalizations and non-linearities keep the reach of their input: what instance
    normalization learns from the whole patch is left out, as is usual.

    Args:
        graph: What `trace` returned.
        size: Voxels of the input along the axis.
        axis: Spatial axis.

    Raises:
        NotImplementedError: A layer has no rule.
    """
    modules = dict(graph.named_modules())
    found: dict[fx.Node, Reach] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            found[node] = input_reach(size)
        elif node.op in {"call_module", "call_function"}:
            inputs = [found[source] for source in node.all_input_nodes]
            found[node] = _apply(node, modules, inputs, axis)
    return found


def _apply(
    node: fx.Node, modules: dict[str, nn.Module], inputs: list[Reach], axis: int
) -> Reach:
    if node.op == "call_function":
        if node.target in JOINS:
            return union(*inputs)
        if node.target in KEEPS:
            return inputs[0]
        raise NotImplementedError(f"no rule for {node.target}")
    layer = modules[str(node.target)]
    if isinstance(layer, CentreCrop):
        return _crop(*inputs)
    for kinds, rule in RULES:
        if isinstance(layer, kinds):
            return rule(layer, inputs[0], axis)
    return inputs[0]
