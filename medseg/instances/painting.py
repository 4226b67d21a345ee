"""Objects as few colours: numbers that fit into a byte and survive being moved.

Levels of depth (`targets.py`) are those of a grid: turned and scaled with an image,
a rim of one voxel breaks or thickens. So patches carry objects, and levels are made
of what the network will see. Neighbours have different colours, distant objects may
share one; connected voxels of a colour are an object again.
"""

import numpy as np

from medseg.instances.targets import Target, encode_together
from medseg.labels import IGNORE_INDEX
from medseg.types import LabelArray, MaskArray

APART = 4.0
"""Objects with a smaller gap, in voxels, get different colours: scaled down by half
and read from the nearest voxel, one of two voxels remains between others."""
COLOURS = IGNORE_INDEX - 1
"""Colours there are, from 1."""


def paint(numbers: LabelArray, *, ignored: MaskArray, flat: bool = False) -> LabelArray:
    """Colours from 1 to 254, uint8; 0 outside of objects, 255 where ignored.

    Args:
        numbers: Object numbers as `renumber` gives them, shape (I, J, K).
        ignored: Voxels that are not scored.
        flat: Only neighbours within a slice (I, J) count.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(1, int(numbers.max(initial=0)) + 1))
    graph.add_edges_from(neighbours(numbers, flat=flat))
    chosen = networkx.greedy_color(graph, strategy="largest_first")
    table = np.zeros(len(graph) + 1, dtype=np.uint8)
    for number, colour in chosen.items():
        table[number] = 1 + colour % COLOURS
    painted: LabelArray = table[numbers]
    painted[ignored] = IGNORE_INDEX
    return painted


def neighbours(numbers: LabelArray, *, flat: bool = False) -> list[tuple[int, int]]:
    """Pairs of objects with a gap below `APART` voxels, each pair once.

    Args:
        numbers: Object numbers, shape (I, J, K).
        flat: Only neighbours within a slice (I, J) count.
    """
    planes = np.moveaxis(numbers, -1, 0) if flat else [numbers]
    pairs = [_touching(_grown(plane)) for plane in planes]
    found = np.unique(np.concatenate(pairs), axis=0)
    return [(int(first), int(second)) for first, second in found]


def _grown(numbers: LabelArray) -> LabelArray:
    from skimage.segmentation import expand_labels

    grown = expand_labels(numbers.squeeze(), distance=APART / 2)  # type: ignore[no-untyped-call]
    return np.asarray(grown)


def _touching(numbers: LabelArray) -> np.ndarray:
    """Pairs of different numbers side by side, the smaller one first."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    for axis in range(numbers.ndim):
        along = np.moveaxis(numbers, axis, 0)
        pairs = np.stack([along[:-1].ravel(), along[1:].ravel()], axis=1)
        pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & pairs.all(axis=1)]
        found.append(np.unique(np.sort(pairs.astype(np.int64), axis=1), axis=0))
    return np.concatenate(found)


def levels_of(
    painted: LabelArray, kind: Target, *, spacing: tuple[float, ...] | None = None
) -> LabelArray:
    """Levels of painted patches, uint8, shape (N, *spatial); 255 stays 255.

    Args:
        painted: Colours, shape (N, *spatial), two or three axes each.
        kind: Which levels.
        spacing: Voxel size along the spatial axes.
    """
    levels = [_levels(patch, kind, spacing) for patch in painted]
    return np.stack(levels)


def _levels(
    patch: LabelArray, kind: Target, spacing: tuple[float, ...] | None
) -> LabelArray:
    import cc3d

    ignored = patch == IGNORE_INDEX
    objects = cc3d.connected_components(
        _continued(patch, ignored), connectivity=4 if patch.ndim == 2 else 6
    )
    levels = encode_together(objects, kind, spacing=spacing)
    levels[ignored] = IGNORE_INDEX
    return levels


def _continued(patch: LabelArray, ignored: MaskArray) -> LabelArray:
    """Objects go on where nothing is known: no rim lies along it."""
    if not ignored.any():
        return patch
    if ignored.all():
        return np.zeros_like(patch)
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(
        ignored, return_distances=False, return_indices=True
    )
    return np.asarray(patch[tuple(nearest)])
