"""Slices in order along their normal, and resampled where no even grid describes them.

Everything is measured from positions and directions: neither InstanceNumber, nor
SliceThickness, nor the tilt element decides about geometry.

A tilted gantry shifts each slice in its own plane against the one before: undoing the
shift, with linear interpolation within the slice, gives a straight stack. Uneven gaps
are filled by linear interpolation between neighbouring slices, onto a grid whose step
is the distance that most slices have; where slices are merely missing, the others keep
their voxels exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError
from medseg.geometry import ORTHONORMAL_TOLERANCE, lps_from_ras
from medseg.grid_limits import require_grid_size
from medseg.io.dicom.frame import Frame
from medseg.types import Affine

_SAME_PLACE_MM = 1e-3
_JITTER_MM = 0.1
_EVEN_SHARE = 0.02
_EVEN_MM = 0.01
_OFF_STEP = 0.05
_WHOLE_PIXEL = 1e-3
_MOST_GROWTH = 2.0


@dataclass(frozen=True)
class Stack:
    """Frames sorted along their normal, one at each position."""

    frames: tuple[Frame, ...]
    heights: tuple[float, ...]
    """Position of each frame along the normal, in mm, ascending."""

    @property
    def gaps(self) -> np.ndarray:
        """Distances of neighbouring slices along the normal in mm, shape (n − 1,)."""
        return np.diff(np.asarray(self.heights))

    @property
    def gap(self) -> float:
        """The distance that most neighbours have: the median, in mm."""
        return float(np.median(self.gaps)) if len(self.frames) > 1 else 0.0

    @property
    def is_even(self) -> bool:
        """Whether all slices lie where equal steps from first to last put them.

        Up to 2 % of a step (at least 0.01 mm) is rounding in headers.
        """
        even = np.linspace(self.heights[0], self.heights[-1], len(self.heights))
        offset = np.abs(np.asarray(self.heights) - even).max()
        return bool(offset <= max(_EVEN_MM, _EVEN_SHARE * self.gap))

    def divides_by(self, step: float) -> bool:
        """Whether all slices lie at whole multiples of a step from the first."""
        steps = (np.asarray(self.heights) - self.heights[0]) / step
        return bool(np.abs(steps - np.rint(steps)).max() <= _OFF_STEP)

    @property
    def drift(self) -> np.ndarray:
        """In-plane shift of each slice against the first, in pixels, shape (n, 2).

        The first number is along i (columns), the second along j (rows).
        """
        first = self.frames[0]
        offsets = positions_of(self.frames) - positions_of(self.frames[:1])
        along_i = offsets @ first.row_direction / first.pixel_spacing[1]
        along_j = offsets @ first.column_direction / first.pixel_spacing[0]
        return np.stack([along_i, along_j], axis=1)

    @property
    def tilt(self) -> float:
        """In-plane shift per mm along the normal: the tangent of the gantry's tilt."""
        span = self.heights[-1] - self.heights[0]
        if span <= 0:
            return 0.0
        shift = positions_of(self.frames[-1:]) - positions_of(self.frames[:1])
        along = shift @ self.frames[0].normal
        return float(
            np.linalg.norm(shift - along[:, None] * self.frames[0].normal) / span
        )

    @property
    def is_tilted(self) -> bool:
        """Whether the slices are shifted against each other beyond rounding."""
        return self.tilt > ORTHONORMAL_TOLERANCE

    def affine(self, *, thickness: float = 1.0) -> Affine:
        """The affine of the evenly spaced stack, RAS+; sheared if it is tilted.

        Axes are i = column, j = row, k = slice.

        Args:
            thickness: Voxel size along k, in mm, of a stack of a single slice.
        """
        first, count = self.frames[0], len(self.frames)
        affine = np.eye(4)
        affine[:3, 0] = first.row_direction * first.pixel_spacing[1]
        affine[:3, 1] = first.column_direction * first.pixel_spacing[0]
        affine[:3, 2] = first.normal * thickness
        positions = positions_of(self.frames)
        if count > 1:
            affine[:3, 2] = (positions[-1] - positions[0]) / (count - 1)
        affine[:3, 3] = positions[0]
        return lps_from_ras(affine)


def thickness_of(attributes: dict[str, str]) -> float | None:
    """SliceThickness in mm; None where it is absent, no number or not positive."""
    try:
        thickness = float(attributes["SliceThickness"])
    except ValueError:
        return None
    return thickness if 0 < thickness < np.inf else None


def positions_of(frames: Sequence[Frame]) -> np.ndarray:
    """LPS positions in mm, shape (n, 3).

    Raises:
        GeometryError: A frame has none.
    """
    if any(frame.position is None for frame in frames):
        if len(frames) == 1:
            return np.zeros((1, 3))
        raise GeometryError("slices without ImagePositionPatient cannot be ordered")
    return np.asarray([frame.position for frame in frames], dtype=np.float64)


def heights_of(frames: Sequence[Frame]) -> np.ndarray:
    """Position of each frame along the first one's normal, in mm, shape (n,)."""
    return np.asarray(positions_of(frames) @ frames[0].normal)


def group_by_place(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames that lie at the same place, place after place along the normal."""
    heights = heights_of(frames)
    order = np.argsort(heights, kind="stable")
    groups: list[list[Frame]] = []
    last, tolerance = -np.inf, same_place_mm(heights[order])
    for number in order:
        if heights[number] - last > tolerance:
            groups.append([])
        groups[-1].append(frames[number])
        last = heights[number]
    return groups


def same_place_mm(ascending: np.ndarray) -> float:
    """How far apart slices may be and still lie at one place, in mm.

    Positions of echoes or time points differ by what their writers rounded: by far
    less than slices do. The largest distance of such a kind is the answer; where
    there is none, a thousandth of a millimetre.
    """
    gaps = np.diff(ascending)
    small = np.unique(np.round(gaps[(gaps > _SAME_PLACE_MM) & (gaps <= _JITTER_MM)], 4))
    for tolerance in (small[::-1] + 1e-4).tolist():
        between = gaps[gaps > tolerance]
        starts = np.concatenate([[True], gaps > tolerance])
        group = np.cumsum(starts) - 1
        first = ascending[starts]
        spread = float((ascending - first[group]).max())
        if len(between) and spread <= _EVEN_SHARE * float(between.min()):
            return float(tolerance)
    return _SAME_PLACE_MM


def stack_of(frames: Sequence[Frame]) -> Stack:
    """Frames with distinct places, sorted."""
    heights = heights_of(frames)
    order = np.argsort(heights, kind="stable")
    return Stack(
        tuple(frames[n] for n in order), tuple(float(heights[n]) for n in order)
    )


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
