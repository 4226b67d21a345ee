"""Patch size and U-Net stages for given sizes and spacings."""

from dataclasses import dataclass

import numpy as np

SMALLEST_FEATURE_MAP = 4
"""An axis is not halved below this many voxels (as nnU-Net)."""
MOST_STAGES = 7
"""Deeper networks see no more of any patch that fits a device."""


@dataclass(frozen=True)
class Topology:
    """How a U-Net goes down, and the patch it is made for."""

    patch_size: tuple[int, ...]
    """Voxels along each axis, divisible by the total stride."""
    strides: tuple[tuple[int, ...], ...]
    """Down-sampling on entering each stage."""
    kernel_sizes: tuple[tuple[int, ...], ...]
    """Kernel of each stage's convolutions."""


def choose_topology(
    shape: np.ndarray, spacing: np.ndarray, *, most_voxels: float, strided_stem: bool
) -> Topology:
    """The largest patch within a number of voxels, and stages that suit it.

    The patch is a cube in mm as far as the scans reach, so that it sees equally far
    in all directions. An axis is halved together with the finest one only when its
    spacing is less than twice as coarse, and gets a kernel of 1 until then, as in
    nnU-Net (Isensee et al., Nat Methods 2021, doi:10.1038/s41592-020-01008-z).

    Args:
        shape: Typical voxels along each axis at the target spacing.
        spacing: Target spacing in mm along each axis.
        most_voxels: Voxels that a patch may have.
        strided_stem: The first stage already halves.
    """
    budget = most_voxels
    while True:
        window = cube_within(shape, spacing, budget)
        strides, kernels = stages(window, spacing, strided_stem=strided_stem)
        divisor = np.prod(np.asarray(strides), axis=0)
        patch = np.maximum(np.ceil(window / divisor), 1) * divisor
        if np.prod(patch) <= most_voxels or budget < most_voxels / 4:
            break
        budget *= 0.95
    return Topology(tuple(int(size) for size in patch), strides, kernels)


def cube_within(
    shape: np.ndarray, spacing: np.ndarray, most_voxels: float
) -> np.ndarray:
    """Voxels of the largest cube in mm, clipped to a shape, within a budget."""
    low, high = 0.0, float((shape * spacing).max())
    window = np.maximum(np.minimum(shape, high / spacing), 1)
    if np.prod(window) <= most_voxels:
        return np.asarray(np.ceil(window))
    for _ in range(50):
        edge = (low + high) / 2
        window = np.maximum(np.minimum(shape, edge / spacing), 1)
        low, high = (edge, high) if np.prod(window) <= most_voxels else (low, edge)
    window = np.maximum(np.minimum(shape, low / spacing), 1)
    return np.asarray(np.floor(window + 1e-6))


def stages(
    window: np.ndarray, spacing: np.ndarray, *, strided_stem: bool
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Strides and kernels of each stage for a patch of a given size."""
    size, spacing = window.astype(float), spacing.astype(float)
    strides, kernels = [], []
    if not strided_stem:
        strides.append((1,) * len(size))
        kernels.append(_kernel(spacing))
    while len(strides) < MOST_STAGES:
        halve = (size >= 2 * SMALLEST_FEATURE_MAP) & (spacing < 2 * spacing.min())
        halve &= size / 2 >= SMALLEST_FEATURE_MAP
        if not halve.any():
            break
        kernels.append(_kernel(spacing))
        stride = np.where(halve, 2, 1)
        strides.append(tuple(int(step) for step in stride))
        size, spacing = np.ceil(size / stride), spacing * stride
    if len(strides) < 2:
        strides += [(1,) * len(size)] * (2 - len(strides))
        kernels += [_kernel(spacing)] * (2 - len(kernels))
    return tuple(strides), tuple(kernels)


def _kernel(spacing: np.ndarray) -> tuple[int, ...]:
    return tuple(1 if value >= 2 * spacing.min() else 3 for value in spacing)
