"""Which channel of a scan shows its structures best."""

import numpy as np

from medseg.types import ImageArray, MaskArray

MARGIN = 4
"""Voxels around the box of the structures that they are compared with, at least."""


def clearest_channel(image: ImageArray, structures: MaskArray) -> int:
    """The channel in which structures differ most from what lies around them.

    The difference of the means is measured in deviations, of both sides together
    (Cohen's d); around is the rest of the box of the structures, grown by half.

    Args:
        image: Intensities, shape (C, ...).
        structures: Where they are, shape (...).

    Returns:
        Its number; 0 where there is no structure, or nothing around it.
    """
    if len(image) == 1 or not structures.any():
        return 0
    box = box_around(structures, margin=0.5)
    inside = structures[box]
    if inside.all():
        return 0
    return int(np.argmax([_difference(channel[box], inside) for channel in image]))


def box_around(filled: MaskArray, *, margin: float) -> tuple[slice, ...]:
    """The box around true voxels, grown by a share of its size; all where none."""
    if not filled.any():
        return tuple(slice(None) for _ in range(filled.ndim))
    box = []
    for axis, size in enumerate(filled.shape):
        others = tuple(other for other in range(filled.ndim) if other != axis)
        found = np.flatnonzero(filled.any(axis=others))
        grow = int(margin * (found[-1] - found[0] + 1)) + MARGIN
        box.append(slice(max(0, found[0] - grow), min(size, found[-1] + 1 + grow)))
    return tuple(box)


def _difference(values: np.ndarray, inside: MaskArray) -> float:
    known = np.isfinite(values)
    here = values[inside & known].astype(np.float32)
    around = values[~inside & known].astype(np.float32)
    if not len(here) or not len(around):
        return 0.0
    spread = float(np.sqrt((here.var() + around.var()) / 2))
    return abs(float(here.mean() - around.mean())) / max(spread, 1e-6)
