"""Blur and low resolution as small matrices along each axis.

Both are linear and act on one axis after the other, so each is a matrix (n, n) per
axis and channel, and their succession is a matrix product. Channels with different
strengths then go through the same batched matrix product.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

NEGLIGIBLE = 1e-7
"""Weights below are left out: float32 cannot tell, and denormal numbers are slow."""


def blur_matrices(num_voxels: int, sigmas: Tensor) -> Tensor:
    """Gaussian weights along an axis, each row of a matrix summing to 1.

    Args:
        num_voxels: Length n of the axis.
        sigmas: Standard deviations in voxels, shape (r,).

    Returns:
        Shape (r, n, n); at the borders the weights within the patch share the whole.
    """
    at = torch.arange(num_voxels, dtype=torch.float32)
    squared = (at[:, None] - at[None, :]).square()
    weights = torch.exp(-0.5 * squared / sigmas[:, None, None].square())
    weights = F.threshold(weights, NEGLIGIBLE, 0.0)
    return weights / weights.sum(dim=-1, keepdim=True)


def low_resolution_matrices(num_voxels: int, shares: Tensor) -> Tensor:
    """Nearest-neighbour reduction followed by linear enlargement along an axis.

    Args:
        num_voxels: Length n of the axis.
        shares: Share of the voxels that the coarse grid has, shape (r,).

    Returns:
        Shape (r, n, n); the same as `interpolate` with ``nearest-exact`` to the coarse
        grid and ``linear`` back.
    """
    coarse = (num_voxels * shares).round().clamp(min=1)[:, None]
    at = (torch.arange(num_voxels) + 0.5) * coarse / num_voxels - 0.5
    at = at.clamp(min=0)
    below = at.floor().minimum(coarse - 1)
    above = (below + 1).minimum(coarse - 1)
    weight = (at - below).clamp(max=1)
    matrices = torch.zeros((len(shares), num_voxels, num_voxels))
    for knots, weights in ((below, 1 - weight), (above, weight)):
        source = ((knots + 0.5) * num_voxels / coarse).floor().long()
        matrices.scatter_add_(2, source[..., None], weights[..., None])
    return matrices


def apply_along_axes(images: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Images after a matrix product along each axis.

    Args:
        images: Shape (r, *spatial).
        matrices: For each axis a tensor (r, m, n) that turns n voxels into m, or
            nothing where the axis is left alone.
    """
    for axis, matrix in enumerate(matrices):
        if matrix is None:
            continue
        shape = list(images.shape)
        shape[axis + 1] = matrix.shape[1]
        if axis == len(matrices) - 1:
            flat = images.reshape(len(images), -1, images.shape[-1])
            images = (flat @ matrix.transpose(1, 2)).view(shape)
        else:
            before = images.shape[1 : axis + 1].numel()
            flat = images.reshape(len(images), before, images.shape[axis + 1], -1)
            images = (matrix[:, None] @ flat).view(shape)
    return images
