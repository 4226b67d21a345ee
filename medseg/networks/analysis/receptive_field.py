"""How far a network sees: by arithmetic, and checked by its gradient."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from medseg.networks.analysis.reach import walk
from medseg.networks.blocks import InstanceNorm
from medseg.networks.deeplab import ImagePooling
from medseg.networks.fcn import ScoreUpsampling2d, ScoreUpsampling3d
from medseg.networks.network import SegmentationNetwork
from medseg.networks.plugin_network import PluginCore
from medseg.networks.unet import CentreCrop
from medseg.networks.upsampling import Interpolate, PixelShuffle

LEAVES = (
    CentreCrop,
    ImagePooling,
    InstanceNorm,
    Interpolate,
    PixelShuffle,
    ScoreUpsampling2d,
    ScoreUpsampling3d,
)


class _Tracer(fx.Tracer):
    """Keeps layers whole whose code looks at sizes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


def trace(network: SegmentationNetwork) -> fx.GraphModule | None:
    """The graph of a network's core; None where its code depends on its input.

    MONAI's SwinUNETR is such a one: its windows depend on the size. Networks by path
    are not followed: no rule is known for layers of others.
    """
    if isinstance(network.core, PluginCore):
        return None
    tracer = _Tracer()
    try:
        graph = tracer.trace(network.core)
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError):
        return None
    return fx.GraphModule(network.core, graph)


def full_resolution_output(graph: fx.Graph) -> fx.Node:
    """The node that makes the logits at full resolution."""
    (result,) = next(node for node in graph.nodes if node.op == "output").args
    logits: Any = result
    while isinstance(logits, list | tuple):
        logits = logits[0]
    assert isinstance(logits, fx.Node)
    return logits


LARGEST = 1 << 14
"""Voxels along an axis beyond which a receptive field counts as the whole image."""

AVERAGES: dict[type, type] = {nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}
MIXING = (
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


@dataclass(frozen=True)
class ReceptiveField:
    """The input voxels that one output voxel depends on.

    Attributes:
        extent: Voxels along each axis, the largest over all output voxels; None where
            the whole image matters, as after global pooling.
        radius: Voxels to the farther side of the output voxel itself; None likewise.
    """

    extent: tuple[int | None, ...]
    radius: tuple[int | None, ...]


def receptive_field(network: SegmentationNetwork) -> ReceptiveField | None:
    """Theoretical receptive field of the logits at full resolution.

    Layer by layer, a kernel k_eff at a distance j between neighbouring voxels widens
    the field by (k_eff − 1)·j, and a stride multiplies j (Araujo et al., Distill 2019,
    doi:10.23915/distill.00021); branches take the widest.

    Returns:
        None for a network that cannot be traced (SwinUNETR).
    """
    graph = trace(network)
    if graph is None:
        return None
    output = full_resolution_output(graph.graph)
    extents, radii = [], []
    for axis in range(network.spatial_dims):
        extent, radius = _along(network, graph, output, axis)
        extents.append(extent)
        radii.append(radius)
    return ReceptiveField(tuple(extents), tuple(radii))


def layer_fields(
    network: SegmentationNetwork,
) -> dict[str, tuple[int | None, ...]] | None:
    """Receptive field of every layer, by its name within the core.

    Returns:
        Voxels along each axis, None where the whole image is seen; None altogether
        for a network that cannot be traced.
    """
    graph = trace(network)
    if graph is None:
        return None
    fields: dict[str, list[int | None]] = {}
    for axis in range(network.spatial_dims):
        size = _long_axis(network, graph, axis)
        for node, reach in walk(graph, size, axis).items():
            if node.op == "call_module":
                extent = int(reach.extent.max())
                known = extent if extent < size // 2 else None
                fields.setdefault(str(node.target), []).append(known)
    return {name: tuple(extents) for name, extents in fields.items()}


def _long_axis(
    network: SegmentationNetwork, graph: torch.fx.GraphModule, axis: int
) -> int:
    """An input size in whose middle no layer but global ones meets a border."""
    output = full_resolution_output(graph.graph)
    extent, _ = _along(network, graph, output, axis)
    wanted = 1024 if extent is None else 2 * extent + 2
    return network.core.input_size((wanted,) * network.spatial_dims)[axis]


def reach_by_gradient(
    network: SegmentationNetwork, size: Sequence[int], position: Sequence[int]
) -> list[tuple[int, int]]:
    """First and last input voxel with a gradient, along each axis.

    The gradient is taken in a copy whose weights are positive, whose maxima are means
    and whose non-linearities are gone, so that nothing cancels or is switched off.

    Args:
        network: Any network.
        size: A size that its core takes.
        position: Voxel of the logits at full resolution.
    """
    core = _linearized(network.core)
    x = torch.full((1, network.in_channels, *size), 0.5, dtype=torch.float64)
    x.requires_grad_()
    outputs, _ = core(x)
    outputs[0][(0, slice(None), *position)].sum().backward()
    assert x.grad is not None
    touched = x.grad.abs().amax(dim=(0, 1)).numpy() > 0
    reaches = []
    for axis in range(touched.ndim):
        others = tuple(a for a in range(touched.ndim) if a != axis)
        (hit,) = np.nonzero(touched.any(axis=others))
        reaches.append((int(hit[0]), int(hit[-1])))
    return reaches


def _along(
    network: SegmentationNetwork,
    graph: torch.fx.GraphModule,
    output: torch.fx.Node,
    axis: int,
) -> tuple[int | None, int | None]:
    """Extent and radius along an axis, in an input so long that borders are far."""
    size = 128
    while size <= LARGEST:
        fitting = network.core.input_size((size,) * network.spatial_dims)[axis]
        reach = walk(graph, fitting, axis)[output]
        if reach.extent.max() < fitting // 2:
            here = np.arange(reach.size) + (fitting - reach.size) // 2
            radius = np.maximum(here - reach.first, reach.last - here).max()
            return int(reach.extent.max()), int(radius)
        size *= 2
    return None, None


def _linearized(core: nn.Module) -> nn.Module:
    """A copy in which every weight passes a positive share of every input."""
    core = copy.deepcopy(core).double().eval()
    replace_layers(core)
    for module in core.modules():
        if isinstance(module, MIXING):
            fan_in = module.weight[0].numel()
            nn.init.constant_(module.weight, 1 / fan_in)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return core


def replace_layers(module: nn.Module) -> None:
    """Means for maxima, identities for normalizations and non-linearities."""
    for name, child in module.named_children():
        if isinstance(child, nn.MaxPool2d | nn.MaxPool3d):
            kind: Any = AVERAGES[type(child)]
            pool = kind(child.kernel_size, child.stride, child.padding)
            setattr(module, name, pool)
        elif _is_pointwise(child):
            setattr(module, name, nn.Identity())
        else:
            replace_layers(child)


def _is_pointwise(layer: nn.Module) -> bool:
    """Whether a layer mixes no voxels, apart from statistics over the patch."""
    return isinstance(layer, InstanceNorm) or type(layer).__module__ in {
        "torch.nn.modules.activation",
        "torch.nn.modules.batchnorm",
        "torch.nn.modules.dropout",
        "torch.nn.modules.instancenorm",
        "torch.nn.modules.normalization",
    }
