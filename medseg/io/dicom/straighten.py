"""Slices that no straight, even grid describes, resampled onto one that does.

A tilted gantry shifts each slice in its own plane against the one before: undoing
the shift, with linear interpolation within the slice, gives a straight stack. Uneven
gaps are filled by linear interpolation between neighbouring slices, onto a grid whose
step is the distance that most slices have; where slices are merely missing, the
others keep their voxels exactly.
"""

import numpy as np

from medseg.errors import GeometryError
from medseg.grid_limits import require_grid_size
from medseg.io.dicom.stack import Stack

_WHOLE_PIXEL = 1e-3
_MOST_GROWTH = 2.0


def undo_tilt(voxels: np.ndarray, stack: Stack) -> tuple[np.ndarray, tuple[int, int]]:
    """Slices moved back into line, and where the old first pixel now lies.

    Args:
        voxels: Shape (I, J, K), k along the stack.
        stack: Where the slices lie.

    Returns:
        Voxels on a larger grid that holds every slice whole, the rest filled with
        the lowest value; and the number of pixels added before the first along i, j.

    Raises:
        GeometryError: The larger grid would be too large.
    """
    drift = stack.drift
    before = np.ceil(-drift.min(axis=0) - _WHOLE_PIXEL).astype(int)
    after = np.ceil(drift.max(axis=0) - _WHOLE_PIXEL).astype(int)
    grown = (
        voxels.shape[0] + int(before[0] + after[0]),
        voxels.shape[1] + int(before[1] + after[1]),
        voxels.shape[2],
    )
    require_grid_size(
        grown, measured=voxels.shape, what="slices shifted by a tilt put in line"
    )
    lowest = voxels.min()
    result = np.full(grown, lowest, dtype=voxels.dtype)
    for k, shift in enumerate(drift + before):
        result[:, :, k] = _shifted(voxels[:, :, k], shift, grown[:2], lowest)
    return result, (int(before[0]), int(before[1]))


def fill_gaps(voxels: np.ndarray, stack: Stack) -> tuple[np.ndarray, float]:
    """Slices interpolated onto even steps, and the step in mm.

    Args:
        voxels: Shape (I, J, K), k along the stack.
        stack: Where the slices lie.

    Raises:
        GeometryError: More than half of the slices would have to be invented.
    """
    heights = np.asarray(stack.heights)
    step = stack.gap
    count = int(np.floor((heights[-1] - heights[0]) / step + 1e-3)) + 1
    if count > _MOST_GROWTH * len(heights) + 1:
        raise GeometryError(
            f"gaps up to {stack.gaps.max():.4g} mm between slices that are mostly "
            f"{step:.4g} mm apart: {count} slices would be made of {len(heights)}; "
            "complete the series or separate its parts"
        )
    wanted = heights[0] + step * np.arange(count)
    upper = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
    lower = upper - 1
    share = (wanted - heights[lower]) / (heights[upper] - heights[lower])
    share = np.clip(
        np.where(np.abs(share - np.rint(share)) < 1e-3, np.rint(share), share), 0, 1
    )
    result = np.empty((*voxels.shape[:2], count), dtype=voxels.dtype)
    for k in range(count):
        low, high = voxels[:, :, lower[k]], voxels[:, :, upper[k]]
        result[:, :, k] = _as_type(
            low * (1.0 - share[k]) + high * share[k], voxels.dtype
        )
    return result, step


def _shifted(
    plane: np.ndarray, shift: np.ndarray, shape: tuple[int, int], fill: float
) -> np.ndarray:
    """A plane moved by a number of pixels along i and j, on a larger plane."""
    from scipy import ndimage

    moved = ndimage.shift(
        np.pad(
            plane.astype(np.float64),
            [(0, shape[0] - plane.shape[0]), (0, shape[1] - plane.shape[1])],
            constant_values=fill,
        ),
        np.where(np.abs(shift - np.rint(shift)) < _WHOLE_PIXEL, np.rint(shift), shift),
        order=1,
        mode="constant",
        cval=float(fill),
    )
    return _as_type(moved, plane.dtype)


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Interpolated values in the type of the voxels, integers rounded."""
    if np.issubdtype(dtype, np.integer):
        return np.asarray(np.rint(values), dtype=dtype)
    return np.asarray(values, dtype=dtype)
