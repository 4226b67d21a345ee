"""Losses of single voxels, as functions of the true class's probability."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CrossEntropyTerm:
    """Cross-entropy, −log p of the true class."""

    def value(self, p: Tensor, log_p: Tensor) -> Tensor:
        """The loss of each voxel."""
        del p
        return -log_p

    def slope(self, p: Tensor, log_p: Tensor) -> Tensor:
        """Derivative with respect to log p."""
        del log_p
        return torch.full_like(p, -1.0)


@dataclass(frozen=True)
class FocalTerm:
    """Focal loss, −(1 − p)^γ log p of the true class (Lin et al., ICCV 2017)."""

    gamma: float

    def value(self, p: Tensor, log_p: Tensor) -> Tensor:
        """The loss of each voxel."""
        return -((1 - p) ** self.gamma) * log_p

    def slope(self, p: Tensor, log_p: Tensor) -> Tensor:
        """Derivative with respect to log p: γ (1 − p)^(γ−1) p log p − (1 − p)^γ."""
        rest = 1 - p
        if self.gamma == 0:
            return torch.full_like(p, -1.0)
        first = self.gamma * p * log_p
        first = torch.where(rest > 0, first * rest ** (self.gamma - 1), 0)
        return first - rest**self.gamma


VoxelTerm = CrossEntropyTerm | FocalTerm
