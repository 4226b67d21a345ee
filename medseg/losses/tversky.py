"""Tversky and focal Tversky loss: false positives and misses weighed apart."""

from dataclasses import dataclass

from torch import Tensor

from medseg.losses.region_sums import RegionSums, class_mean


@dataclass(frozen=True)
class TverskyLoss:
    """(1 − TI)^κ averaged over classes, TI = (TP + ε) / (TP + α FP + β FN + δ).

    TP = Σpt, FP = Σp − Σpt, FN = Σt − Σpt, as `monai.losses.TverskyLoss`. With
    α = β = 1/2 it is soft Dice, with α = β = 1 soft Jaccard; β > α makes misses
    dearer than false alarms. κ = 1 is the Tversky loss, κ < 1 the focal one, whose
    slope grows towards TI = 1 (κ = 3/4 in the paper, written there as 1/γ).

    References:
        Salehi et al., MLMI 2017, arXiv:1706.05721.
        Abraham and Khan, ISBI 2019, arXiv:1810.07842 (focal Tversky).
    """

    alpha: float
    """Price of a false positive."""
    beta: float
    """Price of a miss."""
    exponent: float = 1.0
    """κ."""
    first_class: int = 0
    """1 to leave out the background."""
    batch: bool = False
    """Sum over the batch before dividing."""
    skip_empty: bool = False
    """Leave classes without a reference voxel out of the mean."""
    smooth_nr: float = 1e-5
    """ε."""
    smooth_dr: float = 1e-5
    """δ."""

    def __call__(self, sums: RegionSums) -> Tensor:
        """The mean over samples and classes, a scalar."""
        s = sums.select(self.first_class, batch=self.batch)
        false_positive = s.predicted - s.inside
        missed = s.reference - s.inside
        below = s.inside + self.alpha * false_positive + self.beta * missed
        loss = 1 - (s.inside + self.smooth_nr) / (below + self.smooth_dr)
        if self.exponent != 1:
            loss = loss.clamp_min(1e-12) ** self.exponent
        return class_mean(loss, s.reference, skip_empty=self.skip_empty)
