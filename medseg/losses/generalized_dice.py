"""Generalised Dice: one ratio over all classes, small ones weighed up."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from medseg.losses.region_sums import RegionSums

VolumeWeight = Literal["square", "simple", "uniform"]


@dataclass(frozen=True)
class GeneralizedDiceLoss:
    """1 − (2 Σ_c w_c Σpt + ε) / (Σ_c w_c (Σp + Σt) + δ), averaged over samples.

    w_c = 1 / (Σt)² (``square``), 1 / Σt (``simple``) or 1 (``uniform``). A class
    without a voxel in the reference gets the largest weight of the others, as in
    `monai.losses.GeneralizedDiceLoss`; if all are empty, all weights are 0.

    References:
        Sudre et al., DLMIA 2017, arXiv:1707.03237.
    """

    volume_weight: VolumeWeight = "square"
    """How the weight falls with the volume."""
    first_class: int = 0
    """1 to leave out the background."""
    batch: bool = False
    """Sum over the batch before dividing."""
    smooth_nr: float = 1e-5
    """ε."""
    smooth_dr: float = 1e-5
    """δ."""

    def __call__(self, sums: RegionSums) -> Tensor:
        """The mean over samples, a scalar."""
        s = sums.select(self.first_class, batch=self.batch)
        weight = self._weights(s.reference)
        numerator = 2 * (weight * s.inside).sum(1) + self.smooth_nr
        denominator = (weight * (s.predicted + s.reference)).sum(1) + self.smooth_dr
        return (1 - numerator / denominator).mean()

    def _weights(self, volume: Tensor) -> Tensor:
        if self.volume_weight == "uniform":
            return torch.ones_like(volume)
        power = 2 if self.volume_weight == "square" else 1
        weight = torch.where(volume > 0, volume.clamp_min(1) ** -power, 0)
        return torch.where(volume > 0, weight, weight.amax(1, keepdim=True))
