"""Logits on the prepared grid to a label map on the scan's own grid, slab by slab."""

import numpy as np
import torch
from torch import Tensor

from medseg.inference.decision import decide
from medseg.labels import LabelScheme
from medseg.preparation.placement import Placement
from medseg.volume import LabelMap

SLAB_VOXELS = 4_000_000
"""Class-times-voxel values of a slab that exist at once (16 MB as float32)."""


def export_label_map(
    logits: Tensor, placement: Placement, scheme: LabelScheme
) -> LabelMap:
    """The decision for each voxel of the scan, on the scan's grid.

    Logits are interpolated linearly from the prepared grid; only a slab of them
    exists at the scan's resolution at any time. Voxels that preparing cut away are
    background.

    Args:
        logits: Shape (L, I, J, K) on the prepared grid.
        placement: What `preprocess` returned for the scan.
        scheme: Turns indices into the values that files hold.
    """
    cropped = placement.cropped
    indices = np.empty(cropped.shape, dtype=np.uint8)
    if not placement.is_resampled:
        indices[...] = decide(logits, scheme)
    else:
        per_row = logits.shape[0] * cropped.shape[1] * cropped.shape[2]
        rows = max(1, SLAB_VOXELS // per_row)
        weights = _axis_weights(placement)
        for start in range(0, cropped.shape[0], rows):
            stop = min(start + rows, cropped.shape[0])
            indices[start:stop] = decide(_slab(logits, weights, start, stop), scheme)
    values = scheme.to_values(placement.paste(indices))
    return LabelMap(values, placement.source.affine)


AxisWeights = tuple[Tensor, Tensor, Tensor]
"""Lower neighbour, upper neighbour and the upper one's weight of each position."""


def _axis_weights(placement: Placement) -> list[AxisWeights]:
    """For each axis, where the voxels of the cropped grid lie in the prepared one."""
    to_prepared = np.linalg.inv(placement.prepared.affine) @ placement.cropped.affine
    result = []
    for axis in range(3):
        last = placement.prepared.shape[axis] - 1
        position = (
            np.arange(placement.cropped.shape[axis]) * to_prepared[axis, axis]
            + to_prepared[axis, 3]
        ).clip(0, last)
        lower = np.minimum(np.floor(position).astype(np.int64), max(last - 1, 0))
        upper = np.minimum(lower + 1, last)
        weight = (position - lower).astype(np.float32)
        result.append(
            (
                torch.from_numpy(lower),
                torch.from_numpy(upper),
                torch.from_numpy(weight),
            )
        )
    return result


def _slab(logits: Tensor, weights: list[AxisWeights], start: int, stop: int) -> Tensor:
    """Interpolated logits of rows start to stop, shape (L, stop − start, J, K)."""
    slab = logits
    for axis, (lower, upper, weight) in enumerate(weights, start=1):
        if axis == 1:
            lower, upper, weight = (part[start:stop] for part in (lower, upper, weight))
        lower, upper = lower.to(slab.device), upper.to(slab.device)
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        slab = torch.lerp(
            slab.index_select(axis, lower),
            slab.index_select(axis, upper),
            weight.to(slab.device).reshape(shape),
        )
    return slab
