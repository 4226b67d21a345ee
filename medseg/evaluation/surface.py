"""Distances between the surfaces of two masks, and the scores made of them.

Eight voxel centres (four in 2D) are the corners of a cell. The cells whose corners
are neither all inside nor all outside carry surface; how much depends on which
corners are inside, a table of 256 (16) cases from marching cubes, which MONAI keeps.

Two definitions of a surface are offered, and every result names the one it used:

``"voxels"``
    The mask's voxels that have a face neighbour outside the mask; each counts the
    same. MONAI, medpy and the usual SimpleITK recipe (``LabelContour``) use this.
``"elements"``
    The pieces of surface between voxel centres, weighted by their area in mm², after
    Nikolov et al., J Med Internet Res 2021, doi:10.2196/26151. DeepMind's package
    ``surface-distance`` and MONAI's ``use_subvoxels=True`` use this.

What lies outside the image is background, so a mask that reaches the border has a
surface there, as in MONAI and unlike SimpleITK's ``LabelContour``. An axis with a
single voxel is no axis: such an image is scored in 2D.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal, TypeAlias

import numpy as np

from medseg.errors import GridMismatchError
from medseg.evaluation.nearest import nearest_distances
from medseg.evaluation.overlap import bounding_box
from medseg.types import Spacing


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


SurfaceKind: TypeAlias = Literal["voxels", "elements"]
"""What a surface is made of."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance in mm from every piece of one surface to the other surface.

    All scores are NaN when both masks were empty. When one was, distances are
    infinite and the surface Dice is 0.
    """

    from_prediction: np.ndarray
    """From the prediction's surface to the reference's, shape (P,), mm."""
    from_reference: np.ndarray
    """From the reference's surface to the prediction's, shape (R,), mm."""
    prediction_weights: np.ndarray
    """Area of each piece in mm² (elements), or 1 (voxels), shape (P,)."""
    reference_weights: np.ndarray
    """Area of each piece in mm² (elements), or 1 (voxels), shape (R,)."""
    surface: SurfaceKind
    """What the surfaces are made of."""

    def hausdorff(self, *, percentile: float = 100.0) -> float:
        """The larger of the two directed distances at a percentile, in mm.

        For voxels the percentile is interpolated linearly, as NumPy and MONAI do
        (MONAI in float32, which moves it by up to about 1e-5 of its value);
        for elements it is the distance at which the sorted areas first reach the
        share, as in DeepMind's package. medpy instead pools both directions.
        """
        if (empty := self._empty_distance()) is not None:
            return empty
        return max(
            self._percentile(self.from_prediction, self.prediction_weights, percentile),
            self._percentile(self.from_reference, self.reference_weights, percentile),
        )

    def average(self) -> float:
        """ASSD: mean over both surfaces together, weighted by area, in mm.

        As MONAI's ``symmetric=True``; the mean of the two directed means, which
        some tools report, differs where the surfaces differ in size.
        """
        if (empty := self._empty_distance()) is not None:
            return empty
        total = self.from_prediction @ self.prediction_weights
        total += self.from_reference @ self.reference_weights
        return float(total / self._area())

    def surface_dice(self, *, tolerance_mm: float) -> float:
        """NSD: share of both surfaces within a tolerance of the other, in [0, 1]."""
        if self._area() == 0:
            return math.nan
        near = self.prediction_weights[self.from_prediction <= tolerance_mm].sum()
        near += self.reference_weights[self.from_reference <= tolerance_mm].sum()
        return float(near / self._area())

    def _area(self) -> float:
        return float(self.prediction_weights.sum() + self.reference_weights.sum())

    def _empty_distance(self) -> float | None:
        empty = (not self.from_prediction.size, not self.from_reference.size)
        if not any(empty):
            return None
        return math.nan if all(empty) else math.inf

    def _percentile(
        self, distances: np.ndarray, weights: np.ndarray, percentile: float
    ) -> float:
        if percentile == 100:
            return float(distances.max())
        if self.surface == "voxels":
            return float(np.percentile(distances, percentile))
        order = np.argsort(distances)
        share = np.cumsum(weights[order]) / weights.sum()
        position = int(np.searchsorted(share, percentile / 100))
        return float(distances[order[min(position, len(order) - 1)]])


def surface_distances(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    spacing: Spacing,
    surface: SurfaceKind = "voxels",
    direction: np.ndarray | None = None,
) -> SurfaceDistances:
    """Distances between the surfaces of two masks, from which all scores are made.

    Args:
        prediction: Boolean mask, shape (I, J, K); K is 1 for a 2D image.
        reference: Boolean mask of the same shape.
        spacing: Voxel size in mm along (i, j, k).
        surface: What a surface is made of.
        direction: Unit directions of the voxel axes, the columns of a 3 x 3 matrix;
            needed only where they are not at right angles (a tilted gantry).

    Raises:
        GridMismatchError: The two shapes differ.
    """
    if prediction.shape != reference.shape:
        raise GridMismatchError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}"
        )
    axes = [axis for axis in range(3) if prediction.shape[axis] > 1] or [0]
    steps = np.diag(spacing) if direction is None else direction * np.asarray(spacing)
    pair = _cropped_pair(prediction, reference, axes)
    sizes = [spacing[axis] for axis in axes]
    if surface == "voxels":
        edges = [surface_voxels(mask) for mask in pair]
        areas = [np.ones(int(np.count_nonzero(edge))) for edge in edges]
    else:
        measured = [surface_elements(mask, spacing=sizes) for mask in pair]
        edges = [edge for edge, _ in measured]
        areas = [area for _, area in measured]
    return SurfaceDistances(
        from_prediction=nearest_distances(edges[0], edges[1], steps=steps[:, axes]),
        from_reference=nearest_distances(edges[1], edges[0], steps=steps[:, axes]),
        prediction_weights=areas[0],
        reference_weights=areas[1],
        surface=surface,
    )


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """The mask's voxels with a face neighbour outside it; beyond the image is outside.

    Equal to the mask without its erosion by the cross of face neighbours.
    """
    inside = mask.copy()
    for axis in range(mask.ndim if mask.size else 0):
        ahead, behind = _shifts(axis, mask.ndim)
        inside[ahead] &= mask[behind]
        inside[behind] &= mask[ahead]
        for end in (0, -1):
            inside[(*[slice(None)] * axis, end)] = False
    return np.asarray(mask ^ inside)


def hausdorff_distance(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    spacing: Spacing,
    percentile: float = 100.0,
) -> float:
    """Hausdorff distance of two masks in mm, over surface voxels.

    Infinite when one mask is empty, NaN when both are.
    """
    distances = surface_distances(prediction, reference, spacing=spacing)
    return distances.hausdorff(percentile=percentile)


def surface_dice(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    spacing: Spacing,
    tolerance_mm: float,
    surface: SurfaceKind = "voxels",
) -> float:
    """Share of both surfaces that lies within a tolerance of the other.

    Args:
        prediction: Mask on the reference grid, shape (I, J, K).
        reference: Mask to compare with, shape (I, J, K).
        spacing: Voxel size in mm along (i, j, k).
        tolerance_mm: Largest distance, in mm, that still agrees.
        surface: What a surface is made of.

    Returns:
        A value in [0, 1]; NaN when both masks are empty.

    Raises:
        GridMismatchError: The two shapes differ.

    References:
        Nikolov et al., J Med Internet Res 2021, doi:10.2196/26151.
    """
    distances = surface_distances(
        prediction, reference, spacing=spacing, surface=surface
    )
    return distances.surface_dice(tolerance_mm=tolerance_mm)


def _cropped_pair(
    prediction: np.ndarray, reference: np.ndarray, axes: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Both masks in the box around their union, without axes of a single voxel."""
    flat = tuple(axis for axis in range(3) if axis not in axes)
    masks = [np.squeeze(mask, axis=flat) for mask in (prediction, reference)]
    box = bounding_box(masks[0] | masks[1])
    return (np.ascontiguousarray(masks[0][box]), np.ascontiguousarray(masks[1][box]))


def _shifts(axis: int, ndim: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    ahead = [slice(None)] * ndim
    behind = [slice(None)] * ndim
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    return tuple(ahead), tuple(behind)
