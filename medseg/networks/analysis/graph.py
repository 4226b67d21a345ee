"""The layers of a network as a graph, so that they can be walked and calculated."""

from typing import Any

from torch import fx, nn

from medseg.networks.deeplab import ImagePooling
from medseg.networks.fcn import ScoreUpsampling2d, ScoreUpsampling3d
from medseg.networks.instance_norm import InstanceNorm
from medseg.networks.network import SegmentationNetwork
from medseg.networks.plugin_network import PluginCore
from medseg.networks.unpadded import CentreCrop
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
