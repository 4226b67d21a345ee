"""Contours of structure sets as areas on the slices that they were drawn on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError
from medseg.io.dicom.frame import Correction, Frame
from medseg.io.dicom.label_objects.contours import ContourArea, region_of
from medseg.io.dicom.label_objects.planes import plane_affine
from medseg.io.dicom.label_objects.structures import Structure
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import Stack, positions_of, stack_of, thickness_of

_NEAREST = 0.5
"""How far a contour may lie from the slice that it belongs to, in slice distances."""
_FLAT = 0.1
"""How far points of a contour may leave their plane, in slice distances."""
_FLAT_MM = 0.1
_SAME_HEIGHT_MM = 1e-2


@dataclass(frozen=True)
class Slices:
    """Where the slices of a series lie.

    Attributes:
        stack: The slices in order.
        gap: Their usual distance in mm; the thickness of a single slice.
    """

    stack: Stack
    gap: float

    @classmethod
    def of(cls, series: Series) -> "Slices":
        """Where the slices of a series lie."""
        stack = stack_of(series.frames)
        return cls(stack, stack.gap or thickness_of(series.attributes) or 1.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        first = self.stack.frames[0]
        return first.rows, first.columns

    @property
    def reach(self) -> float:
        """Half the largest distance of neighbours, in mm, and a little more."""
        largest = float(self.stack.gaps.max()) if len(self.stack.frames) > 1 else 0.0
        return max(largest, self.gap) * 0.51

    def plane_at(self, height: float) -> int | float | None:
        """The number of the slice at a height, or the height where one is missing.

        None above the last slice and below the first.
        """
        heights = np.asarray(self.stack.heights)
        reach = _NEAREST * self.gap + _SAME_HEIGHT_MM
        if not heights[0] - reach <= height <= heights[-1] + reach:
            return None
        place = int(np.abs(heights - height).argmin())
        return place if abs(heights[place] - height) <= reach else round(height, 2)

    def frame_of(self, plane: int | float) -> Frame:
        """A slice, or what a missing one at this height would be."""
        if isinstance(plane, int):
            return self.stack.frames[plane]
        positions = positions_of(self.stack.frames).T
        x, y, z = (float(np.interp(plane, self.stack.heights, p)) for p in positions)
        return replace(self.stack.frames[0], position=(x, y, z))


@dataclass(frozen=True)
class DrawnStructure:
    """A structure's areas on each plane where it is drawn.

    Attributes:
        name: Of the structure.
        areas: By plane, as `Slices.plane_at` gives it. Contours of one slice that
            do not lie at the same height are areas of their own.
    """

    name: str
    areas: dict[int | float, list[ContourArea]]

    def pixels(
        self, plane: int | float, shape: tuple[int, int], *, with_outline: bool = True
    ) -> np.ndarray:
        """Pixels on a plane, shape (rows, columns)."""
        mask = np.zeros(shape, dtype=np.bool_)
        for area in self.areas.get(plane, ()):
            mask |= area.pixels(shape, with_outline=with_outline)
        return mask


def drawn_on(
    structure: Structure,
    slices: Slices,
    path: Path,
    told: list[Correction],
) -> DrawnStructure:
    """A structure's areas, in pixels of the planes that its contours lie on.

    Args:
        structure: Its contours.
        slices: Of the image that it was drawn on.
        path: The object, for messages.
        told: What was cut off, moved, united or left out is added.

    Raises:
        GeometryError: A contour does not lie in the plane of a slice.
    """
    normal = slices.stack.frames[0].normal
    flat = max(_FLAT_MM, _FLAT * slices.gap)
    drawn: dict[int | float, list[tuple[float, np.ndarray]]] = {}
    num_beyond, offset, is_cut = 0, 0.0, False
    for points in structure.contours:
        heights = points @ normal
        if np.ptp(heights) > 2 * flat:
            raise GeometryError(
                f"{path}: contours of {structure.name!r} do not lie in the "
                f"slices' plane: points of one are {np.ptp(heights):.3g} mm apart "
                "across the slices; draw it on the slices of the image"
            )
        height = float(heights.mean())
        plane = slices.plane_at(height)
        if plane is None:
            num_beyond += 1
            continue
        if isinstance(plane, int):
            offset = max(offset, abs(slices.stack.heights[plane] - height))
        pixels = _pixels_of(points, slices.frame_of(plane))
        is_cut |= _leaves(pixels, slices.shape)
        drawn.setdefault(plane, []).append((height, pixels))
    areas = {
        plane: [
            region_of(contours, is_exclusive=structure.is_exclusive)
            for contours in _by_height(placed)
        ]
        for plane, placed in drawn.items()
    }
    told += _remarks(
        structure, num_beyond, offset if offset > flat else 0.0, is_cut=is_cut
    )
    told += _area_remarks(
        structure.name, [a for found in areas.values() for a in found]
    )
    return DrawnStructure(structure.name, areas)


def lie_on_slices(structures: Iterable[Structure], series: Series) -> bool:
    """Whether contours lie on slices of a series, and none between them."""
    if any(frame.position is None for frame in series.frames):
        return False
    slices = Slices.of(series)
    heights = np.asarray(slices.stack.heights)
    first = slices.stack.frames[0]
    found = False
    for structure in structures:
        for points in structure.contours:
            height = points @ first.normal
            plane = slices.plane_at(float(height.mean()))
            if plane is None:
                continue
            if np.abs(height[:, None] - heights).min(axis=1).max() > slices.gap * _FLAT:
                return False
            pixels = _pixels_of(points, slices.frame_of(plane))
            limits = np.asarray([first.columns, first.rows])
            found |= bool(((pixels > -0.5) & (pixels < limits)).all(axis=1).any())
    return found


def _pixels_of(points: np.ndarray, frame: Frame) -> np.ndarray:
    """LPS points as (column, row) of a frame, shape (n, 2)."""
    to_pixel = np.linalg.inv(plane_affine(frame))
    return np.asarray((points @ to_pixel[:3, :3].T + to_pixel[:3, 3])[:, :2])


def _leaves(pixels: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a contour reaches past the outermost pixels."""
    limits = np.asarray(shape[::-1]) - 0.5
    return bool((pixels < -1.0).any() or (pixels > limits + 0.5).any())


def _by_height(
    placed: Sequence[tuple[float, np.ndarray]],
) -> list[list[np.ndarray]]:
    """Contours of one slice, those at one height together."""
    groups: list[list[np.ndarray]] = []
    last = -np.inf
    for height, pixels in sorted(placed, key=lambda item: item[0]):
        if height - last > _SAME_HEIGHT_MM:
            groups.append([])
        groups[-1].append(pixels)
        last = height
    return groups


def _remarks(
    structure: Structure, num_beyond: int, offset: float, *, is_cut: bool
) -> list[Correction]:
    """What was done to contours that do not lie on the slices."""
    name, total = repr(structure.name), len(structure.contours)
    said = []
    if num_beyond:
        text = (
            f"{num_beyond} of {total} contours of {name} lie beyond the scan's slices"
        )
        said.append(Correction("cut off", text))
    if is_cut:
        text = f"{name} reaches past the edge of the slices"
        said.append(Correction("cut off", text))
    if offset:
        text = f"contours of {name} up to {offset:.3g} mm off went to the nearest slice"
        said.append(Correction("moved", text))
    return said


def _area_remarks(name: str, areas: Sequence[ContourArea]) -> list[Correction]:
    """What was done to contours that are there twice or cross each other."""
    copies = sum(area.num_copies for area in areas)
    united = sum(area.num_united for area in areas)
    said = []
    if copies:
        text = f"{copies} contours of {name!r} repeat another and were left out"
        said.append(Correction("copies", text))
    if united:
        text = f"{united} contours of {name!r} cross another and were united with it"
        said.append(Correction("united", text))
    return said
