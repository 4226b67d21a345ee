"""Memory that a network takes for one window."""

import warnings
from collections.abc import Sequence
from math import prod
from weakref import WeakKeyDictionary

from torch import nn

from medseg.networks.analysis.costs import predict_memory
from medseg.networks.network import SegmentationNetwork

CRUDE_BYTES_PER_VOXEL = 1500
"""More than networks of 32 channels at full resolution hold in float32 (measured:
about 900); for budgets that leave plenty."""

WORKSPACE = 1.4
"""Convolutions hold copies of their own beside what they are given and return
(measured: up to 1.39, an FCN-32s in bfloat16 on two threads; most take none)."""

_KNOWN: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def window_bytes(
    network: nn.Module,
    shape: Sequence[int],
    *,
    num_outputs: int,
    by_layers: bool = True,
) -> int:
    """Largest number of bytes in use at once for one window, logits among them.

    Args:
        network: Any network.
        shape: Of the window, (C, *spatial).
        num_outputs: Channels of the logits.
        by_layers: Follow tensors through the layers, which takes up to a second.
    """
    voxels = prod(shape[1:])
    outside = 4 * voxels * (shape[0] + 2 * num_outputs)
    crude = CRUDE_BYTES_PER_VOXEL * voxels + outside
    if not by_layers or not isinstance(network, SegmentationNetwork):
        return crude
    known = _KNOWN.setdefault(network, {})
    key = tuple(shape)
    if key not in known:
        known[key] = _by_layers(network, key) + outside
    return known[key]


def _by_layers(network: SegmentationNetwork, shape: tuple[int, ...]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fake tensors, about nothing of ours
        return int(WORKSPACE * predict_memory(network, (1, *shape), training=False))
