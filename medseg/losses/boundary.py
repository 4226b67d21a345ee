"""Boundary loss: wrong voxels cost their distance from the true surface."""

import numpy as np
import torch
from torch import Tensor, nn

from medseg.losses.probabilities import Regions, probabilities_and_masks
from medseg.losses.targets import check_shapes, nonfinite_alarm


class BoundaryLoss(nn.Module):
    """Mean over voxels, classes and samples of φ p, φ the signed distance to truth.

    φ is in voxels: the distance to the reference outside of it, and inside minus the
    distance to the background plus one, so that it is 0 on the region's own rim; 0
    everywhere for a class that is absent or fills the patch. As
    `monai.losses.BoundaryLoss`. The value may be negative. Alone it does not train
    well from scratch: it is meant as an addition to a region loss.

    The distances are computed on the CPU at every call (library ``edt``).

    References:
        Kervadec et al., MIDL 2019, arXiv:1812.07032.
    """

    def __init__(
        self, *, num_channels: int, regions: Regions = (), first_class: int = 0
    ) -> None:
        """Takes the channels of the logits and what they stand for."""
        super().__init__()
        self.num_channels = num_channels
        self.regions = regions
        self.first_class = first_class

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) for class indices (N, *spatial)."""
        check_shapes(logits, target, num_channels=self.num_channels)
        p, masks = probabilities_and_masks(
            logits, target, regions=self.regions, first_class=self.first_class
        )
        return (p * signed_distances(masks)).mean() + nonfinite_alarm(logits)


def signed_distances(masks: Tensor) -> Tensor:
    """φ of every mask, in voxels, of the masks' shape (N, L, *spatial) and type."""
    found = masks.detach().cpu().numpy() > 0.5
    result = np.zeros(found.shape, np.float32)
    for index in np.ndindex(found.shape[:2]):
        result[index] = _signed_distance(found[index])
    return torch.from_numpy(result).to(masks)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    import edt

    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.float32)
    inside = edt.edt(np.ascontiguousarray(mask))
    outside = edt.edt(np.ascontiguousarray(~mask))
    return np.asarray(np.where(mask, 1 - inside, outside), np.float32)
