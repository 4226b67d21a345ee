"""Tiles whose logits are those of the whole volume, to rounding.

A network whose answer at a voxel depends on nothing but the voxels around it can be
cut anywhere, provided that each tile brings its receptive field along and lies on the
network's strides:

    padded convolutions     tile of T voxels, halo h ≥ receptive radius, both multiples
                            of the total stride d; T − 2h voxels are kept, more at the
                            borders of the image, where the tile ends with it
    unpadded convolutions   tile of T voxels, o(T) = T − 2m come out, m the margin;
                            tiles start at multiples of d; borders are mirrored

so that the cost is (T / (T − 2h)) per axis where half-overlapping windows cost 2.
Instance and group normalization depend on all voxels of a window and forbid it.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from medseg.inference.tiling import Continuation, Tile, Tiling
from medseg.networks.analysis.fixed_statistics import BY_IMAGE
from medseg.networks.analysis.receptive_field import receptive_field
from medseg.networks.network import SegmentationNetwork
from medseg.networks.plugin_network import PluginCore


@dataclass(frozen=True)
class ExactAxis:
    """How tiles may be cut along one axis.

    Attributes:
        divisor: Tiles start at multiples of it.
        halo: Voxels to each side whose logits are not kept; a multiple of it.
        margin: Voxels to each side that unpadded convolutions lose; 0 otherwise.
        stem: With a margin: the largest input whose output is one voxel; inputs are
            that and multiples of the divisor more.
    """

    divisor: int
    halo: int = 0
    margin: int = 0
    stem: int = 0


SLICES = ExactAxis(divisor=1)
"""The axis along which a network of two dimensions sees nothing."""


def exact_axes(network: nn.Module) -> tuple[ExactAxis, ...] | str:
    """How a network can be tiled exactly, or why it cannot.

    Args:
        network: As it predicts (folded or not).
    """
    if not isinstance(network, SegmentationNetwork):
        return "the network is not one of ours"
    if isinstance(network.core, PluginCore):
        return "how far a network by path sees is measured, not proven"
    if any(isinstance(m, (*BY_IMAGE, nn.LayerNorm)) for m in network.modules()):
        return "the network normalizes over each window"
    try:
        field = receptive_field(network)
    except NotImplementedError as error:
        return str(error)
    if field is None:
        return "the network's layers cannot be followed"
    margin = network.output_margin
    if any(margin):
        return tuple(_unpadded(network, axis) for axis in range(len(margin)))
    axes = []
    for radius, divisor in zip(field.radius, network.divisor, strict=True):
        if radius is None:
            return "the network sees the whole image at once"
        axes.append(ExactAxis(divisor, math.ceil(radius / divisor) * divisor))
    return tuple(axes)


def _unpadded(network: SegmentationNetwork, axis: int) -> ExactAxis:
    ones = (1,) * network.spatial_dims
    stem = network.core.input_size(ones)
    held = network.core.output_size(stem)[axis]
    return ExactAxis(
        divisor=network.divisor[axis],
        margin=network.output_margin[axis],
        stem=stem[axis] - (held - 1) // network.divisor[axis] * network.divisor[axis],
    )


def exact_tiling(
    shape: Sequence[int],
    axes: Sequence[ExactAxis],
    *,
    window: Sequence[int],
    axis: int = 0,
) -> Tiling | None:
    """Tiles with halos; None where the window leaves nothing between the halos.

    Args:
        shape: Voxels of the image.
        axes: What `exact_axes` found, one entry for each axis.
        window: Largest size of a tile.
        axis: Outermost in the order of the tiles.
    """
    pieces = [
        _unpadded_pieces(n, one, w) if one.margin else _padded_pieces(n, one, w)
        for n, one, w in zip(shape, axes, window, strict=True)
    ]
    if not all(pieces):
        return None
    tiles = []
    for parts in itertools.product(*pieces):
        source, target = zip(*parts, strict=True)
        inner = tuple(
            slice(t.start - s.start - one.margin, t.stop - s.start - one.margin)
            for s, t, one in zip(source, target, axes, strict=True)
        )
        tiles.append(Tile(source, target, inner))
    tiles.sort(key=lambda tile: tile.target[axis].start)
    beyond: Continuation = "mirror" if any(one.margin for one in axes) else "repeat"
    return Tiling(tuple(tiles), tuple(shape), axis, None, beyond)


Piece = tuple[slice, slice]
"""What a tile sees and what it answers, along one axis."""


def _padded_pieces(size: int, axis: ExactAxis, window: int) -> list[Piece]:
    """Tiles of equal size; an axis that fits into one is left to the network."""
    step, halo = axis.divisor, axis.halo
    whole = math.ceil(size / step) * step
    tile = window // step * step
    if whole <= tile:
        return [(slice(0, size), slice(0, size))]
    if tile <= 2 * halo:
        return []
    count = math.ceil((whole - tile) / (tile - 2 * halo)) + 1
    spread = (whole - tile) // step
    starts = [round(i * spread / (count - 1)) * step for i in range(count)]
    edges = [0, *(start + halo for start in starts[1:]), size]
    return [
        (slice(start, start + tile), slice(low, high))
        for start, (low, high) in zip(starts, itertools.pairwise(edges), strict=True)
    ]


def _unpadded_pieces(size: int, axis: ExactAxis, window: int) -> list[Piece]:
    """Tiles of equal size that reach a margin beyond what they answer."""
    steps = (window - axis.stem) // axis.divisor
    tile = axis.stem + steps * axis.divisor
    kept = tile - 2 * axis.margin
    step = kept // axis.divisor * axis.divisor
    if steps < 0 or (step < 1 and kept < size):
        return []
    starts = [0]
    while starts[-1] + kept < size:
        starts.append(starts[-1] + step)
    edges = [*starts, size]
    return [
        (slice(start - axis.margin, start - axis.margin + tile), slice(low, high))
        for start, (low, high) in zip(starts, itertools.pairwise(edges), strict=True)
    ]


def computed_voxels(tiling: Tiling) -> int:
    """Voxels that the network is given, all tiles together."""
    return sum(
        math.prod(part.stop - part.start for part in tile.source)
        for tile in tiling.tiles
    )
