"""From logits on the network's grid to labels on the scan's, one class at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.inference.nnunet.resample import Resize


def decide(
    logits: Tensor, resampling: Resize, *, region_order: Sequence[int]
) -> np.ndarray:
    """The label of each voxel of a new grid, int16.

    nnU-Net resamples all logits, rounds them to float16 again and takes the largest;
    here only the largest so far is kept.

    Args:
        logits: Float16, shape (L, a, b, c).
        resampling: To the new grid.
        region_order: Values that regions are painted with, later ones over earlier;
            empty for plain labels, whose first largest logit decides.
    """
    if region_order:
        return _painted(logits, resampling, region_order)
    best = on_new_grid(logits[0], resampling)
    found = np.zeros(best.shape, np.int16)
    for label in range(1, len(logits)):
        values = on_new_grid(logits[label], resampling)
        better = values > best
        found[better] = label
        np.copyto(best, values, where=better)
    return found


def on_new_grid(logits: Tensor, resampling: Resize) -> np.ndarray:
    """One class's logits, resampled: float16, or 32 by torch's function."""
    values = resampling.image(logits.numpy())
    return values.astype(values.dtype if values.dtype == np.float32 else np.float16)


def _painted(
    logits: Tensor, resampling: Resize, region_order: Sequence[int]
) -> np.ndarray:
    found: np.ndarray | None = None
    for region, value in zip(logits, region_order, strict=True):
        values = torch.from_numpy(on_new_grid(region, resampling))
        if found is None:
            found = np.zeros(tuple(values.shape), np.int16)
        found[(values.float().sigmoid() > 0.5).numpy()] = value
    assert found is not None
    return found
