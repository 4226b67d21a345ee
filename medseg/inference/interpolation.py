"""Where the voxels of a scan lie between the voxels of its prepared grid."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.placement import Placement


@dataclass(frozen=True)
class AxisWeights:
    """Neighbours of each voxel of an axis on the prepared grid.

    Attributes:
        lower: Prepared voxel at or before it, int64, shape (n,).
        upper: Prepared voxel after it; the same where the weight is 0.
        weight: The upper one's share, float32, shape (n,); the lower one has the rest.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor

    def part(self, start: int, stop: int, *, first: int = 0) -> "AxisWeights":
        """Those of voxels start to stop, prepared voxels counted from `first`."""
        return AxisWeights(
            self.lower[start:stop] - first,
            self.upper[start:stop] - first,
            self.weight[start:stop],
        )

    def to(self, device: torch.device) -> "AxisWeights":
        """The same on a device."""
        return AxisWeights(
            self.lower.to(device), self.upper.to(device), self.weight.to(device)
        )


def positions(placement: Placement) -> list[np.ndarray]:
    """For each axis, where the cropped grid's voxels lie, in prepared voxels."""
    to_prepared = np.linalg.inv(placement.prepared.affine) @ placement.cropped.affine
    return [
        np.arange(size) * to_prepared[axis, axis] + to_prepared[axis, 3]
        for axis, size in enumerate(placement.cropped.shape)
    ]


def axis_weights(placement: Placement) -> list[AxisWeights]:
    """For each axis, the neighbours of the cropped grid's voxels.

    Voxels of the scan beyond the centres of the first and last prepared voxels take
    the nearest one's value.
    """
    result = []
    for where, size in zip(positions(placement), placement.prepared.shape, strict=True):
        last = size - 1
        position = where.clip(0, last)
        lower = np.minimum(np.floor(position).astype(np.int64), max(last - 1, 0))
        weight = (position - lower).astype(np.float32)
        upper = np.where(weight > 0, np.minimum(lower + 1, last), lower)
        lower = np.where(weight == 1, upper, lower)
        result.append(
            AxisWeights(
                torch.from_numpy(lower),
                torch.from_numpy(upper),
                torch.from_numpy(weight),
            )
        )
    return result


def interpolate(values: Tensor, weights: list[AxisWeights]) -> Tensor:
    """Values (L, I, J, K) of the prepared grid at the scan's voxels, axis by axis."""
    for axis, one in enumerate(weights, start=1):
        near = one.to(values.device)
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        values = torch.lerp(
            values.index_select(axis, near.lower),
            values.index_select(axis, near.upper),
            near.weight.reshape(shape),
        )
    return values
