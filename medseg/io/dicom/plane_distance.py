"""How far apart the planes of a segmentation object are, and how thick.

Planes without any segment are left out of most objects, so that the distance of
those stored says little: two planes ten slices apart are two slices, not two slabs.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError
from medseg.geometry import Grid, lps_from_ras
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import Stack, stack_of

_PARALLEL = 1e-3
_STRAIGHT = 1e-3
_ON_SLICE = 0.1
"""How far a plane may lie from a slice and still be on it, in slice distances."""
_SPARSE = 2.5
"""Planes this many thicknesses apart or more have empty ones between them."""


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
