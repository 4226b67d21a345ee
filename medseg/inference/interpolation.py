"""Where the voxels of a scan lie between the voxels of its prepared grid."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.device import send
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
        part = slice(start, stop)
        lower, upper = self.lower[part], self.upper[part]
        if first:
            lower, upper = lower - first, upper - first
        return AxisWeights(lower, upper, self.weight[part])

    def to(self, device: torch.device) -> "AxisWeights":
        """The same on a device."""
        parts = (self.lower, self.upper, self.weight)
        return AxisWeights(*(send(part, device) for part in parts))


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


def interpolate(values: Tensor, weights: list[AxisWeights], *, axis: int = 1) -> Tensor:
    """Values of the prepared grid at the scan's voxels, axis by axis.

    Args:
        values: Shape (L, I, J, K).
        weights: Of some axes, on the device of the values.
        axis: The first of them.
    """
    for number, one in enumerate(weights, start=axis):
        values = between(
            values.index_select(number, one.lower),
            values.index_select(number, one.upper),
            one,
            axis=number,
        )
    return values


def between(lower: Tensor, upper: Tensor, one: AxisWeights, *, axis: int) -> Tensor:
    """Linear interpolation between the neighbours along an axis, (L, I, J, K) each."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    return torch.lerp(lower, upper, one.weight.reshape(shape))
