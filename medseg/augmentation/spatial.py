"""Mirroring, turning, scaling and bending as one resampling of image and label.

Blur and low resolution are linear and act on one axis after the other, so each is a
matrix (n, n) per axis and channel, and their succession is a matrix product. Channels
with different strengths then go through the same batched matrix product.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.augmentation.draw import num_control_points

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


def rotation_matrices(angles: Tensor) -> Tensor:
    """Rotations about the axes i, then j, then k, or within the plane in 2D.

    Args:
        angles: Radians, shape (r, 3), or (r, 1) in 2D.

    Returns:
        Shape (r, D, D).
    """
    if angles.shape[1] == 1:
        return _turn(angles[:, 0], 0, 1, dims=2)
    about_i, about_j, about_k = angles.unbind(dim=1)
    turn_i, turn_j = _turn(about_i, 1, 2, dims=3), _turn(about_j, 2, 0, dims=3)
    return _turn(about_k, 0, 1, dims=3) @ turn_j @ turn_i


def _turn(angles: Tensor, first: int, second: int, *, dims: int) -> Tensor:
    matrices = torch.eye(dims).repeat(len(angles), 1, 1)
    matrices[:, first, first] = matrices[:, second, second] = angles.cos()
    matrices[:, second, first] = angles.sin()
    matrices[:, first, second] = -angles.sin()
    return matrices


def source_matrices(
    angles: Tensor,
    zooms: Tensor,
    flips: Sequence[tuple[int, ...]],
    *,
    spacing: Sequence[float],
    thick_axis: int | None,
) -> Tensor:
    """Where each voxel of the result comes from, relative to the patch's centre.

    Rotation happens in millimetres, so that anatomy keeps its shape on grids whose
    voxels are not cubes.

    Args:
        angles: Radians, shape (r, 3), or (r, 1) in 2D.
        zooms: Magnification, shape (r,).
        flips: Axes to mirror, one tuple per row.
        spacing: Voxel size along each axis, in any unit.
        thick_axis: Axis that is not scaled.

    Returns:
        Matrices (r, D, D) from voxels of the result to voxels of the source.
    """
    mm = torch.tensor([float(s) for s in spacing])
    shrink = (1 / zooms)[:, None].repeat(1, len(spacing))
    if thick_axis is not None and len(spacing) == 3:
        shrink[:, thick_axis] = 1
    mirror = torch.ones((len(flips), len(spacing)))
    for row, axes in enumerate(flips):
        mirror[row, list(axes)] = -1
    turned = rotation_matrices(angles) * (mm[None, :] / mm[:, None])
    return turned * shrink[:, None, :] * mirror[:, None, :]


def normalized_theta(
    matrices: Tensor, *, source_size: Sequence[int], patch_size: Sequence[int]
) -> Tensor:
    """The matrices as `affine_grid` wants them: unit cube, last axis first.

    Returns:
        Shape (r, D, D + 1) for ``align_corners=False``; both centres coincide.
    """
    target = torch.tensor([float(n) for n in patch_size])
    source = torch.tensor([float(n) for n in source_size])
    unit = matrices * target[None, None, :] / source[None, :, None]
    return F.pad(unit.flip(1, 2), (0, 1))


def resample(
    images: Tensor,
    labels: Tensor,
    theta: Tensor,
    *,
    patch_size: Sequence[int],
    displacements: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Patches read at moved positions; beyond the source both are zero.

    Args:
        images: Shape (r, C, *source), read by linear interpolation.
        labels: Shape (r, *source), uint8, read from the nearest voxel.
        theta: As `normalized_theta` gives it, on the images' device.
        patch_size: Spatial shape of the result.
        displacements: As `bend` gives it.
    """
    grid = F.affine_grid(theta, [len(images), 1, *patch_size], align_corners=False)
    if displacements is not None:
        grid = grid + displacements
    moved = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    nearest = F.grid_sample(
        labels[:, None].to(images.dtype), grid, mode="nearest", align_corners=False
    )
    return moved, nearest[:, 0].to(labels.dtype)


def bend(
    control: Tensor, weights: Sequence[Tensor], *, source_size: Sequence[int]
) -> Tensor:
    """A smooth deformation in the unit cube of `affine_grid`.

    Args:
        control: Displacement of the control points in voxels, (r, D, *control).
        weights: For each axis as `spline_weights` gives them, on the same device.
        source_size: Spatial shape of what is deformed.

    Returns:
        Shape (r, *patch_size, D), last axis first.
    """
    rows, dims = control.shape[:2]
    flat = control.reshape(rows * dims, *control.shape[2:])
    field = apply_along_axes(flat, [w.expand(len(flat), -1, -1) for w in weights])
    field = field.view(rows, dims, *field.shape[1:])
    scaled = [field[:, axis] * (2 / source_size[axis]) for axis in range(dims)]
    return torch.stack(scaled[::-1], dim=-1)


def spline_weights(num_voxels: int, spacing: int) -> Tensor:
    """Cubic B-spline weights of the control points for each voxel of an axis.

    Returns:
        Shape (num_voxels, control points); each row sums to 1.
    """
    at = torch.arange(num_voxels, dtype=torch.float32) / spacing
    knots = torch.arange(num_control_points(num_voxels, spacing)) - 1
    away = (at[:, None] - knots[None, :]).abs()
    near = 2 / 3 - away.square() + away.pow(3) / 2
    far = (2 - away).clamp(min=0).pow(3) / 6
    return torch.where(away < 1, near, far)


def center_on(batch: Tensor, size: Sequence[int]) -> Tensor:
    """A copy of a batch, cut or zero-padded around its centre along the last axes."""
    pads: list[int] = []
    for have, want in zip(
        reversed(batch.shape[-len(size) :]), reversed(size), strict=True
    ):
        before = math.floor((want - have) / 2)
        pads += [before, want - have - before]
    return F.pad(batch, pads) if any(pads) else batch.clone()
