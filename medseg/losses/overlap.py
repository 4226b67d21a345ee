"""Soft Dice and soft Jaccard."""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.losses.region_sums import RegionSums, class_mean


@dataclass(frozen=True)
class OverlapLoss:
    """One minus soft Dice, or one minus soft Jaccard, averaged over classes.

    Dice = (2Σpt + ε) / (Σp + Σt + δ); Jaccard = (2Σpt + ε) / (2(Σp + Σt − Σpt) + δ);
    the squared forms have Σp² in place of Σp. As `monai.losses.DiceLoss` has them.
    A class without a voxel in the reference scores 1 − ε / (Σp + δ): nearly 1 unless
    almost nothing is predicted; `skip_empty` leaves it out.

    References:
        Milletari et al., 3DV 2016, arXiv:1606.04797 (squared Dice).
        Rahman and Wang, ISVC 2016, doi:10.1007/978-3-319-50835-1_22 (Jaccard).
    """

    first_class: int = 0
    """1 to leave out the background."""
    batch: bool = False
    """Sum over the batch before dividing."""
    skip_empty: bool = False
    """Leave classes without a reference voxel out of the mean."""
    jaccard: bool = False
    """Jaccard in place of Dice."""
    smooth_nr: float = 1e-5
    """ε."""
    smooth_dr: float = 1e-5
    """δ."""
    weights: tuple[float, ...] | None = None
    """Multiplies each class's loss, background first."""

    def __call__(self, sums: RegionSums) -> Tensor:
        """The mean over samples and classes, a scalar."""
        s = sums.select(self.first_class, batch=self.batch)
        total = s.predicted + s.reference
        if self.jaccard:
            total = 2 * (total - s.inside)
        loss = 1 - (2 * s.inside + self.smooth_nr) / (total + self.smooth_dr)
        if self.weights is not None:
            loss = loss * torch.tensor(self.weights).to(loss)[self.first_class :]
        return class_mean(loss, s.reference, skip_empty=self.skip_empty)
