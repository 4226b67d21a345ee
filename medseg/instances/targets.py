"""What a network learns of single objects: for each voxel, how deep it lies inside.

A map of numbered objects is no target for a network: the numbers are arbitrary. Each
object is cut into levels instead, from its rim to its middle, as classes of a softmax:

    border   1 rim, 2 inside; the rim is a voxel thick, along the outline and along
             other objects, so that insides of neighbours never touch
    depth    1 rim, 2 between, 3 core; the core holds the voxels that are deeper than
             half of the object's greatest depth, so that cores are far apart

Every object has a voxel of the innermost class, however small it is. Levels rise
inwards, so that one decoder (`decoding.py`) serves both.
"""

from typing import Literal, TypeAlias

import numpy as np

from medseg.types import LabelArray, MaskArray

Target: TypeAlias = Literal["border", "depth"]
"""Kinds of levels."""

LEVELS: dict[Target, tuple[str, ...]] = {
    "border": ("rim", "inside"),
    "depth": ("rim", "between", "core"),
}
"""Names of the levels of an object, from its rim inwards."""

RIM = 1.0
"""Depth up to which a voxel belongs to the rim, in voxels of the finest axis."""
CORE = 0.5
"""Share of an object's greatest depth from which on a voxel belongs to its core."""


def encode(
    labels: LabelArray,
    kind: Target,
    *,
    spacing: tuple[float, ...] | None = None,
    flat: bool = False,
) -> LabelArray:
    """Level of each voxel, uint8; 0 outside of objects.

    Args:
        labels: Object numbers as `renumber` gives them, shape (I, J, K).
        kind: Which levels.
        spacing: Voxel size along the axes; depth counts in the smallest of them.
        flat: Objects live in the slices (I, J) of each k, as for 2D networks.
    """
    if flat:
        planes = [
            encode_together(labels[..., k], kind, spacing=spacing and spacing[:2])
            for k in range(labels.shape[-1])
        ]
        return np.stack(planes, axis=-1)
    return encode_together(labels, kind, spacing=spacing)


def encode_together(
    labels: LabelArray, kind: Target, *, spacing: tuple[float, ...] | None = None
) -> LabelArray:
    """Levels of objects that extend along all axes; see `encode`."""
    depth = depth_of(labels, spacing=spacing)
    deepest = _largest(depth, labels)[labels]
    levels: LabelArray = (labels != 0).astype(np.uint8)
    levels[depth > RIM] = 2
    innermost = len(LEVELS[kind])
    if kind == "depth":
        levels[(depth > RIM) & (depth > CORE * deepest)] = innermost
    levels[(labels != 0) & (depth == deepest) & (deepest <= RIM)] = innermost
    return levels


def renumber(labels: LabelArray, *, outside: MaskArray) -> LabelArray:
    """Any values as object numbers: 0 outside, else from 1 without gaps, uint32.

    Args:
        labels: One value per object.
        outside: Voxels that belong to none.
    """
    values, numbers = np.unique(labels[~outside], return_inverse=True)
    del values
    renumbered = np.zeros(labels.shape, dtype=np.uint32)
    renumbered[~outside] = numbers.ravel() + 1
    return renumbered


def depth_of(
    labels: LabelArray, *, spacing: tuple[float, ...] | None = None
) -> np.ndarray:
    """Distance of each voxel to the nearest one that is not of its object, float32.

    Counts in voxels of the finest axis; 0 outside of objects. The border of the image
    is no border of objects, which go on behind it.

    Args:
        labels: Object numbers, 0 outside.
        spacing: Voxel size along the axes.
    """
    import edt

    sizes = np.asarray(spacing or (1.0,) * labels.ndim, dtype=float)
    depth: np.ndarray = edt.edt(
        np.ascontiguousarray(labels),
        anisotropy=tuple(sizes / sizes.min()),
        black_border=False,
    )
    return np.where(np.isfinite(depth), depth, float(max(labels.shape)))


def _largest(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The largest value of each number from 0 on."""
    found = np.zeros(int(numbers.max(initial=0)) + 1, dtype=values.dtype)
    np.maximum.at(found, numbers.ravel(), values.ravel())
    return found
