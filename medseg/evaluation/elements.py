"""Surface elements: the pieces of surface between voxel centres, with their area.

Eight voxel centres (four in 2D) are the corners of a cell. The cells whose corners
are neither all inside nor all outside carry surface; how much depends on which
corners are inside, a table of 256 (16) cases from marching cubes, which MONAI keeps.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np


def surface_elements(
    mask: np.ndarray, *, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Where the cells with surface lie, and the area of surface in each.

    Args:
        mask: Boolean array of two or three axes; outside the array is background.
        spacing: Voxel size in mm along each axis.

    Returns:
        A boolean array over the cells, one longer than the mask along each axis, and
        the areas in mm² (lengths in mm in 2D) in the order of its true cells.
    """
    if mask.ndim == 1:
        codes = _corner_codes(mask)
        found = (codes != 0) & (codes != 3)
        return found, np.ones(int(np.count_nonzero(found)))
    table = _area_table(tuple(float(size) for size in spacing))
    codes = _corner_codes(mask)
    found = (codes != 0) & (codes != len(table) - 1)
    return found, table[codes[found]]


def _corner_codes(mask: np.ndarray) -> np.ndarray:
    """One bit per corner that is inside; the first corner is the highest bit."""
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([size + 1 for size in mask.shape], dtype=np.uint8)
    for corner in product((0, 1), repeat=mask.ndim):
        part = tuple(
            slice(start, start + size)
            for start, size in zip(corner, codes.shape, strict=True)
        )
        codes <<= 1
        codes |= padded[part]
    return codes


@lru_cache(maxsize=64)
def _area_table(spacing: tuple[float, ...]) -> np.ndarray:
    """Area of surface for every code, float64, from MONAI's table of normals."""
    import torch
    from monai.metrics.utils import get_code_to_measure_table

    table, kernel = get_code_to_measure_table(  # type: ignore[no-untyped-call]
        spacing, device=torch.device("cpu")
    )
    weights = kernel.flatten().tolist()
    expected = [2.0**bit for bit in reversed(range(len(weights)))]
    areas: np.ndarray = table.double().numpy().ravel()
    assert weights == expected, "MONAI numbers the corners of a cell differently"
    return areas
