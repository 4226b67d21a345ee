"""Labels between grids and planes, through the affine and never by guessed axes.

A label map lives on a grid; a DICOM object holds planes at positions of their own.
Both directions ask, for each voxel to be filled, which voxel of the other lies
nearest to its centre.
"""

from collections.abc import Sequence

import numpy as np

from medseg.geometry import Grid, lps_from_ras
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.stack import heights_of, positions_of
from medseg.types import Affine

_AXIS_SHARE = 1e-5


def planes_of(
    voxels: np.ndarray, affine: Affine, frames: Sequence[Frame]
) -> np.ndarray:
    """A grid's voxels at the pixels of frames, shape (n, rows, columns).

    Args:
        voxels: Shape (I, J, K).
        affine: Its affine, RAS+.
        frames: Where the pixels lie; pixels outside the grid become 0.
    """
    to_index = np.linalg.inv(lps_from_ras(affine))
    planes = np.zeros(
        (len(frames), frames[0].rows, frames[0].columns), dtype=voxels.dtype
    )
    for plane, frame in zip(planes, frames, strict=True):
        matrix = to_index @ plane_affine(frame)
        steps, start = matrix[:3, :2], matrix[:3, 3]
        plane[:] = _lookup(voxels, steps, start, (frame.columns, frame.rows)).T
    return planes


def plane_affine(frame: Frame) -> Affine:
    """(column, row, 0, 1) of a frame to LPS mm; the third axis is the normal."""
    affine = np.eye(4)
    affine[:3, 0] = frame.row_direction * frame.pixel_spacing[1]
    affine[:3, 1] = frame.column_direction * frame.pixel_spacing[0]
    affine[:3, 2] = frame.normal
    affine[:3, 3] = positions_of([frame])[0]
    return affine


def grid_of(
    planes: np.ndarray, frames: Sequence[Frame], grid: Grid, *, reach_mm: float
) -> np.ndarray:
    """Planes' pixels at the voxels of a grid, shape (I, J, K).

    Args:
        planes: Shape (n, rows, columns), one for each frame.
        frames: Where the planes lie, in any order, parallel to each other.
        grid: Where to look.
        reach_mm: How far from a plane, along its normal, a voxel may lie and still
            take its label; others become 0.
    """
    heights = heights_of(frames)
    order = np.argsort(heights)
    result = np.zeros(grid.shape, dtype=planes.dtype)
    affine_lps = lps_from_ras(grid.affine)
    normal = frames[0].normal
    step = affine_lps[:3, :3].T @ normal  # mm along the normal per i, j, k
    i, j = np.ogrid[: grid.shape[0], : grid.shape[1]]
    for k in range(grid.shape[2]):
        height = affine_lps[:3, 3] @ normal + step[2] * k + step[0] * i + step[1] * j
        nearest = _nearest(heights[order], height)
        for place in np.unique(nearest):
            frame = frames[order[place]]
            near = (nearest == place) & (
                abs(height - heights[order[place]]) <= reach_mm
            )
            if not near.any():
                continue
            matrix = np.linalg.inv(plane_affine(frame)) @ affine_lps
            steps = matrix[:2, :2]
            start = matrix[:2, 3] + matrix[:2, 2] * k
            plane = planes[order[place]].T
            found = _lookup(plane, steps, start, grid.shape[:2])
            result[:, :, k] = np.where(near, found, result[:, :, k])
    return result


def _nearest(ascending: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted height, the number of the nearest in an ascending list."""
    upper = np.clip(np.searchsorted(ascending, wanted), 1, max(len(ascending) - 1, 1))
    if len(ascending) == 1:
        return np.zeros(np.shape(wanted), dtype=np.intp)
    lower = upper - 1
    closer = np.abs(wanted - ascending[lower]) <= np.abs(ascending[upper] - wanted)
    return np.where(closer, lower, upper)


def _lookup(
    source: np.ndarray, steps: np.ndarray, start: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """``source[round(start + steps @ (a, b))]`` for all a, b; 0 outside.

    Where every axis of the source runs along one of the two, whole rows are taken.
    """
    moves = np.abs(steps) > _AXIS_SHARE
    a, b = np.ogrid[: shape[0], : shape[1]]
    if (moves.sum(axis=1) <= 1).all():
        steps = np.where(moves, steps, 0.0)
    index = [
        np.rint(start[axis] + steps[axis, 0] * a + steps[axis, 1] * b).astype(np.intp)
        if moves[axis].all()
        else _one_axis(start[axis], steps[axis], a, b)
        for axis in range(source.ndim)
    ]
    inside = np.ones((1, 1), dtype=np.bool_)
    clipped = []
    for axis, numbers in enumerate(index):
        inside = inside & (numbers >= 0) & (numbers < source.shape[axis])
        clipped.append(np.clip(numbers, 0, source.shape[axis] - 1))
    values = source[tuple(np.broadcast_arrays(*clipped))]
    return np.where(inside, values, np.zeros((), dtype=source.dtype))


def _one_axis(
    start: float, steps: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Indices that depend on one of two axes at most, kept thin."""
    if abs(steps[0]) >= abs(steps[1]):
        return np.asarray(np.rint(start + steps[0] * a), dtype=np.intp)
    return np.asarray(np.rint(start + steps[1] * b), dtype=np.intp)
