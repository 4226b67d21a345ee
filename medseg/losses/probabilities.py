"""Probabilities and masks of every class or region, for losses that need them whole.

Only the boundary loss and clDice do: they look at the shape of a region, which sums
over voxels cannot tell.
"""

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX

Regions = tuple[tuple[int, ...], ...]


def probabilities_and_masks(
    logits: Tensor, target: Tensor, *, regions: Regions, first_class: int
) -> tuple[Tensor, Tensor]:
    """Both of shape (N, L', *spatial), of the logits' type; 0 where ignored.

    Args:
        logits: Shape (N, L, *spatial).
        target: Class indices of shape (N, *spatial); 255 is left out.
        regions: Classes of each overlapping region; empty for classes that exclude
            each other.
        first_class: 1 to leave out the background; without effect on regions.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    counted = (target != IGNORE_INDEX)[:, None]
    if regions:
        wanted = [torch.tensor(classes, device=target.device) for classes in regions]
        masks = torch.stack([torch.isin(target, classes) for classes in wanted], 1)
        p = logits.sigmoid()
    else:
        classes = torch.arange(first_class, logits.shape[1], device=target.device)
        shape = (1, -1, *(1,) * (target.ndim - 1))
        masks = target[:, None] == classes.view(shape)
        p = logits.softmax(1)[:, first_class:]
    return p * counted, masks.to(p)
