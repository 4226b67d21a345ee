"""Closed contours around pixels, and pixels inside contours.

Coordinates are (column, row) in pixels of a plane, pixel centres at whole numbers. A
contour runs half-way between a pixel inside and its neighbour outside, so that the
pixels whose centres it encloses are exactly those that it was drawn around. Contours
of one plane combine by exclusive or: a contour within another is a hole.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

_SMALLEST = 3


def contours_of(mask: np.ndarray) -> list[np.ndarray]:
    """Closed contours of a mask of shape (rows, columns), each (points, 2)."""
    from skimage import measure

    tools: Any = measure  # untyped
    padded = np.pad(mask.astype(np.float32), 1)
    # Pixels that touch at a corner stay apart, as contours must not cross.
    found = tools.find_contours(padded, 0.5, fully_connected="low")
    contours = []
    for points in found:
        # Only points on a straight line between others go: the outline is the same.
        thinned = tools.approximate_polygon(points, tolerance=1e-6)[:-1]
        contours.append((thinned - 1)[:, ::-1])
    return contours


def fill(contours: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie inside an odd number of contours, (rows, columns).

    Contours of fewer than three points enclose nothing.
    """
    from skimage import draw

    tools: Any = draw  # untyped
    mask = np.zeros(shape, dtype=np.bool_)
    for points in contours:
        if len(points) < _SMALLEST:
            continue
        rows, columns = tools.polygon(points[:, 1], points[:, 0], shape)
        mask[rows, columns] ^= True
    return mask
