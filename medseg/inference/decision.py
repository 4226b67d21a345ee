"""From logits to label indices, for plain labels and for overlapping regions."""

import numpy as np
import torch
from torch import Tensor

from medseg.device import send
from medseg.labels import LabelScheme


def region_membership(scheme: LabelScheme) -> Tensor:
    """Which class lies in which region, shape (classes, regions), 0 or 1."""
    members = torch.zeros(scheme.num_classes, len(scheme.regions))
    for column, names in enumerate(scheme.regions.values()):
        for name in names:
            members[scheme.structures.index(name) + 1, column] = 1
    return members


def class_scores(logits: Tensor, scheme: LabelScheme) -> Tensor:
    """One score per class and voxel, whose largest is the decision.

    For plain labels these are the logits. For regions with independent sigmoids the
    log-likelihood of class c is, up to a term that all classes share, the sum of the
    logits of the regions that contain c; it is linear in the logits, so that
    interpolating before or after is the same.

    Args:
        logits: Shape (L, *spatial).
        scheme: Says whether L counts classes or regions.

    Returns:
        Shape (classes, *spatial).
    """
    if not scheme.regions:
        return logits
    members = send(region_membership(scheme), logits.device).to(logits.dtype)
    scores: Tensor = torch.tensordot(members, logits, dims=1)
    return scores


def decide(logits: Tensor, scheme: LabelScheme) -> np.ndarray:
    """Label index of each voxel, uint8, shape (*spatial)."""
    best = class_scores(logits, scheme).argmax(dim=0)
    return best.to(torch.uint8).cpu().numpy()
