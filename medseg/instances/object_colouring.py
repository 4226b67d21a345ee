"""Objects as few colours: numbers that fit into a byte and survive being moved.

Levels of depth (`targets.py`) are those of a grid: turned and scaled with an image, a
rim of one voxel breaks or thickens. So patches carry objects, and levels are made of
what the network will see. A byte says for each voxel:

    0         beyond the image, where augmentation has nothing to show
    1         outside of objects
    2 to 253  twice the object's colour, plus 1 where the innermost level moves along:
              the core (`depth`), or an object too small for an inside (`border`)
    255       ignored

Neighbours have different colours; objects far apart may share one.
"""

import numpy as np
from torch import Tensor

from medseg.instances.targets import LEVELS, Target
from medseg.labels import IGNORE_INDEX
from medseg.types import LabelArray, MaskArray

BEYOND, OUTSIDE = 0, 1
"""Values of a painted map."""
APART = 4
"""Objects with a gap up to so many voxels get different colours: scaled down by half
and read from the nearest voxel, two of them may come to lie side by side."""
COLOURS = 126
"""Colours there are, from 1."""


def paint(
    numbers: LabelArray,
    levels: LabelArray,
    kind: Target,
    *,
    ignored: MaskArray,
    flat: bool = False,
) -> LabelArray:
    """Objects as the bytes that the head of this file describes, uint8.

    Args:
        numbers: Object numbers as `renumber` gives them, shape (I, J, K).
        levels: Of these objects, as `encode` gives them.
        kind: Which levels.
        ignored: Voxels that are not scored.
        flat: Only neighbours within a slice (I, J) count.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(1, int(numbers.max(initial=0)) + 1))
    graph.add_edges_from(neighbours(numbers, flat=flat))
    chosen = networkx.greedy_color(graph, strategy="largest_first")
    table = np.full(len(graph) + 1, OUTSIDE, dtype=np.uint8)
    for number, colour in chosen.items():
        table[number] = 2 * (1 + colour % COLOURS)
    painted: LabelArray = table[numbers]
    innermost = (levels == len(LEVELS[kind])) & (numbers > 0)
    if kind == "border":  # else insides are what no rim is
        has_rim = np.zeros(len(table), dtype=bool)
        has_rim[numbers[levels == 1]] = True
        innermost &= ~has_rim[numbers]
    painted[innermost] += 1
    painted[ignored] = IGNORE_INDEX
    return painted


def neighbours(numbers: LabelArray, *, flat: bool = False) -> list[tuple[int, int]]:
    """Pairs of objects with a gap up to `APART` voxels, each once.

    Along the axes all of them; otherwise of those within reach of a voxel the ones
    with the highest and the lowest number.

    Args:
        numbers: Object numbers, shape (I, J, K).
        flat: Only neighbours within a slice (I, J) count.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    reach = 2 * (APART + 1) + 1
    size = (reach, reach, 1 if flat else reach)
    none = np.iinfo(numbers.dtype).max
    highest = maximum_filter(numbers, size=size)
    found = [_pairs(numbers, highest)]
    lowest = minimum_filter(np.where(numbers > 0, numbers, none), size=size)
    found.append(_pairs(numbers, lowest))
    for axis in range(numbers.ndim - flat):
        along = np.moveaxis(numbers, axis, 0)
        for step in range(1, APART + 2):
            found.append(_pairs(along[:-step], along[step:]))
    unique = np.unique(np.concatenate(found), axis=0)
    return [(int(first), int(second)) for first, second in unique]


def _pairs(numbers: LabelArray, others: LabelArray) -> np.ndarray:
    """Different numbers of a voxel in both maps, the smaller one first."""
    differ = (numbers > 0) & (others > 0) & (numbers != others)
    pairs = np.stack([numbers[differ], others[differ]], axis=1).astype(np.int64)
    return np.unique(np.sort(pairs, axis=1), axis=0)


SAME_SPACING = 1.5
"""Rims run along axes whose voxels are at most so many times the finest ones."""


def levels_of(
    painted: Tensor, kind: Target, *, spacing: tuple[float, ...] | None = None
) -> Tensor:
    """Levels of painted patches on the same device; ignored voxels stay 255.

    Where objects end because nothing is known beyond, there is no rim.

    Args:
        painted: As `paint` gives it and as it was moved, uint8, (N, *spatial).
        kind: Which levels.
        spacing: Voxel size along the spatial axes.
    """
    ignored, beyond = painted == IGNORE_INDEX, painted == BEYOND
    colour = painted >> 1
    known = ~(ignored | beyond)
    rim = ignored & beyond  # nowhere
    for axis in _fine_axes(painted.dim() - 1, spacing):
        differ = _beside(colour, known, axis)
        length = painted.shape[axis] - 1
        rim.narrow(axis, 0, length).logical_or_(differ)
        rim.narrow(axis, 1, length).logical_or_(differ)
    innermost = len(LEVELS[kind])
    levels = painted.new_full(painted.shape, 2).masked_fill_(rim, 1)
    levels.masked_fill_((painted & 1).bool(), innermost)
    levels.masked_fill_(colour == 0, 0)
    return levels.masked_fill_(ignored, IGNORE_INDEX)


def _beside(colour: Tensor, known: Tensor, axis: int) -> Tensor:
    """Whether a voxel and the next one along an axis are known to differ."""
    length = colour.shape[axis] - 1
    differ = colour.narrow(axis, 0, length) != colour.narrow(axis, 1, length)
    return differ & known.narrow(axis, 0, length) & known.narrow(axis, 1, length)


def _fine_axes(dims: int, spacing: tuple[float, ...] | None) -> list[int]:
    """Axes of (N, *spatial) along which a rim is one voxel thick."""
    sizes = spacing or (1.0,) * dims
    return [
        axis
        for axis, size in enumerate(sizes, start=1)
        if dims == 2 or size <= SAME_SPACING * min(sizes)
    ]
