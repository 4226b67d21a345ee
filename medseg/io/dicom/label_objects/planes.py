"""Labels between grids and planes, through the affine and never by guessed axes.

A label map lives on a grid; a DICOM object holds planes at positions of their own.
Both directions ask, for each voxel to be filled, which voxel of the other lies
nearest to its centre.

Planes without any segment are left out of most segmentation objects, so that the
distance of those stored says little: two planes ten slices apart are two slices, not
two slabs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError
from medseg.geometry import Grid, lps_from_ras
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import Stack, heights_of, positions_of, stack_of
from medseg.types import Affine

_AXIS_SHARE = 1e-5
_PARALLEL = 1e-3
_STRAIGHT = 1e-3
_ON_SLICE = 0.1
"""How far a plane may lie from a slice and still be on it, in slice distances."""
_SPARSE = 2.5
"""Planes this many thicknesses apart or more have empty ones between them."""


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


@dataclass(frozen=True)
class PlaneStep:
    """The distance of planes, and how it was found."""

    mm: float
    remark: str = ""
    """What was guessed; empty where the object says it."""


def plane_step(
    stack: Stack, *, spacing: float, thickness: float, path: Path
) -> PlaneStep:
    """The distance of planes, empty ones that were not stored among them.

    Args:
        stack: The planes that are stored.
        spacing: SpacingBetweenSlices in mm, or 0.
        thickness: SliceThickness in mm, or 0.
        path: The object, for messages.

    Raises:
        GeometryError: Nothing says it.
    """
    nearest = float(stack.gaps.min()) if len(stack.frames) > 1 else spacing
    is_sparse = 0 < _SPARSE * thickness <= nearest and spacing != thickness
    if is_sparse and _fits(stack, thickness):
        text = f"planes are taken to be {thickness:.4g} mm apart, as they are thick"
        return PlaneStep(thickness, text)
    if spacing and stack.tilt < _STRAIGHT and _fits(stack, spacing):
        return PlaneStep(spacing)
    if len(stack.frames) > 1 and (thickness or _are_even(stack, nearest)):
        return PlaneStep(nearest)
    if thickness:
        return PlaneStep(thickness)
    raise GeometryError(
        f"{path}: nothing says how thick its planes are; read it together with the "
        "series that it belongs to"
    )


def own_thickness(stack: Stack, *, spacing: float, thickness: float) -> float | None:
    """Thickness that an object states beyond doubt, in mm; else None.

    A distance that equals that of the stored planes alone may have been computed from
    them, empty ones left out: it counts only where planes are as thick.
    """
    if not spacing or stack.tilt >= _STRAIGHT or not _fits(stack, spacing):
        return None
    return spacing if abs(thickness - spacing) <= _ON_SLICE * spacing else None


def slice_distance(grid: Grid, normal: np.ndarray) -> float | None:
    """Distance of a grid's slices that are parallel to a plane; None if none are."""
    axes = lps_from_ras(grid.affine)[:3, :3]
    along = np.abs(normal @ axes)
    axis = int(along.argmax())
    others = np.delete(along / np.linalg.norm(axes, axis=0), axis)
    return float(along[axis]) if others.max() <= _PARALLEL else None


def empty_planes(stack: Stack, grid: Grid, gap: float) -> list[Frame]:
    """Planes on the slices of a grid that an object has left out.

    Args:
        stack: The planes that are stored, parallel to the grid's slices.
        grid: The image's grid.
        gap: Distance of its slices in mm.
    """
    first = stack.frames[0]
    affine = lps_from_ras(grid.affine)
    along = first.normal @ affine[:3, :3]
    axis = int(np.abs(along).argmax())
    heights = first.normal @ affine[:3, 3] + along[axis] * np.arange(grid.shape[axis])
    stored = np.asarray(stack.heights)
    away = np.abs(heights[:, None] - stored).min(axis=1)
    start, base = np.asarray(first.position), stack.heights[0]
    return [
        replace(first, position=tuple(start + first.normal * (height - base)))
        for height in heights[away > gap / 2].tolist()
    ]


def is_among_slices(stack: Stack, series: Series) -> bool:
    """Whether every plane of a stack is a slice of a series."""
    if any(frame.position is None for frame in series.frames):
        return False
    slices = stack_of(series.frames)
    normal = slices.frames[0].normal
    if abs(normal @ stack.frames[0].normal) < 1 - _PARALLEL:
        return False
    places = np.asarray([frame.position for frame in stack.frames]) @ normal
    away = np.abs(places[:, None] - np.asarray(slices.heights)).min(axis=1)
    return bool(away.max() <= _ON_SLICE * max(slices.gap, 1.0))


def _are_even(stack: Stack, nearest: float) -> bool:
    return len(stack.frames) > 2 and stack.divides_by(nearest)


def _fits(stack: Stack, step: float) -> bool:
    """Whether planes lie at multiples of a step."""
    single = len(stack.frames) == 1
    return single or (step <= stack.gaps.min() * 1.01 and stack.divides_by(step))
