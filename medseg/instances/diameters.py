"""How long objects are: across a slice, across that, and from end to end in space.

An object ends half-way between a voxel inside and its neighbour outside, where
marching cubes at one half put its surface: a single pixel is as wide as it is, and a
ball neither too wide by a pixel nor too narrow.

References:
    Maximum 3D diameter: Zwanenburg et al., The image biomarker standardisation
        initiative, arXiv:1612.07003, L0JK.
    Long and short axis in a slice: Eisenhauer et al., RECIST 1.1, Eur J Cancer 2009,
        doi:10.1016/j.ejca.2008.10.026.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medseg.types import Affine, MaskArray

_BLOCK = 1024
"""Points that are compared with all others at a time."""


@dataclass(frozen=True)
class Axes:
    """The longest line through an object in a slice, and the longest across it."""

    slice_index: int
    long_mm: float
    short_mm: float


def longest_axes(planes: MaskArray, *, spacing: tuple[float, float]) -> Axes | None:
    """The slice and region with the longest diameter, and its short axis.

    Regions are what is connected within a slice, corners included, so that two lesions
    side by side are not measured as one. Lines run through gaps of a region, as one
    drawn by hand does.

    Args:
        planes: Masks of slices, shape (n, A, B).
        spacing: Size of a pixel in mm along the last two axes.

    Returns:
        None where nothing is marked.
    """
    best: Axes | None = None
    for reach, number, mask in sorted(
        _regions(planes, spacing), key=lambda region: -region[0]
    ):
        if best is not None and reach <= best.long_mm:
            break
        corners = _hull(_surface(mask) * spacing)
        start, end, length = _farthest(corners)
        if best is None or length > best.long_mm:
            short = _widest_across(corners, corners[end] - corners[start])
            best = Axes(number, length, short)
    return best


def largest_diameter(mask: MaskArray, affine: Affine) -> float:
    """Longest distance in mm between two points of the surface of one object.

    Of several objects that do not touch, corners included, the longest.

    Args:
        mask: Shape (I, J, K).
        affine: Of the grid.

    Returns:
        0 where nothing is marked.
    """
    from scipy.ndimage import find_objects

    numbers = number_objects(mask)
    boxes = find_objects(numbers)
    reaches = np.array([_diagonal(box, affine) for box in boxes])
    best = 0.0
    for place in np.argsort(-reaches).tolist():
        if reaches[place] <= best:
            break
        part = numbers[boxes[place]] == place + 1
        points = _surface(part) @ affine[:3, :3].T
        best = max(best, _farthest(_hull(points))[2])
    return best


def number_objects(mask: MaskArray) -> np.ndarray:
    """Numbers of the objects that do not touch, corners included; 0 outside."""
    import cc3d

    flat = mask.ndim == 2
    found = cc3d.connected_components(
        np.ascontiguousarray(mask), connectivity=8 if flat else 26
    )
    return np.asarray(found)


def _regions(
    planes: MaskArray, spacing: tuple[float, float]
) -> Iterator[tuple[float, int, MaskArray]]:
    """Upper bound of the length, slice and mask of each region of each slice."""
    for number in np.flatnonzero(planes.any(axis=(1, 2))).tolist():
        for box, mask in _boxes(number_objects(planes[number])):
            sides = [
                (p.stop - p.start) * mm for p, mm in zip(box, spacing, strict=True)
            ]
            yield float(np.hypot(*sides)), number, mask


def _boxes(numbers: np.ndarray) -> Iterator[tuple[tuple[slice, ...], MaskArray]]:
    """Bounding box and mask inside it of each number."""
    from scipy.ndimage import find_objects

    for number, box in enumerate(find_objects(numbers), start=1):
        yield box, numbers[box] == number


def _diagonal(box: tuple[slice, ...], affine: Affine) -> float:
    """Longest distance in mm between two corners of a box of voxels."""
    sides = np.array([side.stop - side.start for side in box])
    corners = (np.indices((2, 2, 2)).reshape(3, -1).T * sides) @ affine[:3, :3].T
    return float(np.linalg.norm(corners[:, None] - corners, axis=-1).max())


def _surface(mask: MaskArray) -> np.ndarray:
    """Points half-way between voxels inside and their neighbours outside."""
    padded = np.pad(mask, 1)
    points = []
    for axis in range(mask.ndim):
        crossings = np.argwhere(np.diff(padded.astype(np.int8), axis=axis)).astype(
            float
        )
        crossings -= 1
        crossings[:, axis] += 0.5
        points.append(crossings)
    return np.concatenate(points)


def _hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull; a single voxel's six (four) points are ones."""
    from scipy.spatial import ConvexHull

    return np.asarray(points[ConvexHull(points).vertices])


def _farthest(corners: np.ndarray) -> tuple[int, int, float]:
    """Numbers of the two corners that lie farthest apart, and their distance."""
    from scipy.spatial.distance import cdist

    best = (0, 0, -1.0)
    for first in range(0, len(corners), _BLOCK):
        apart = cdist(corners[first : first + _BLOCK], corners)
        start, end = np.unravel_index(int(apart.argmax()), apart.shape)
        if apart[start, end] > best[2]:
            best = (first + int(start), int(end), float(apart[start, end]))
    return best


def _widest_across(corners: np.ndarray, along: np.ndarray) -> float:
    """Longest line across a direction that a convex outline holds.

    Its length changes linearly between corners, so that the longest one ends at one.
    """
    along = along / np.linalg.norm(along)
    u = corners @ along
    v = corners @ np.array([-along[1], along[0]])
    low, high = int(u.argmin()), int(u.argmax())
    widths = [
        np.interp(u, *_chain(u, v, low, high)),
        np.interp(u, *_chain(u, v, high, low)),
    ]
    return float(np.abs(widths[0] - widths[1]).max())


def _chain(
    u: np.ndarray, v: np.ndarray, start: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """The corners from one to another along the hull, ascending in u."""
    count = len(u)
    steps = (end - start) % count
    order = np.arange(start, start + steps + 1) % count
    order = order[np.argsort(u[order], kind="stable")]
    return u[order], v[order]
