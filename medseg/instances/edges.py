"""Outlines of objects along the edges of their pixels, holes included.

Filling them gives exactly the object's pixels back, and their area is the number of
these; a single pixel is a square. Points are (x, y): x grows along i, to the right, y
along j, downwards; the corner of the first pixel is (0, 0), as in ImageJ and QuPath.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medseg.types import LabelArray, MaskArray

Point = tuple[int, int]


@dataclass(frozen=True)
class ObjectOutline:
    """An object in a plane: rings around its parts, and around the holes in them.

    Attributes:
        label: Its number.
        plane: Number of the plane (page, slice).
        parts: Each part's outer ring and then those of its holes, as points without
            the first one again, shape (n, 2).
    """

    label: int
    plane: int
    parts: tuple[tuple[np.ndarray, ...], ...]

    @property
    def rings(self) -> list[np.ndarray]:
        """All rings of all parts."""
        return [ring for part in self.parts for ring in part]


def outlines_of(labels: LabelArray, *, background: int = 0) -> Iterator[ObjectOutline]:
    """The outline of every object in every plane, by plane and number.

    Args:
        labels: Object numbers, shape (I, J, K).
        background: The value outside of objects.
    """
    from scipy.ndimage import find_objects

    for plane in range(labels.shape[2]):
        flat = labels[..., plane]
        values, places = np.unique(flat, return_inverse=True)
        numbers = places.reshape(flat.shape).astype(np.int32) + 1
        for number, box in enumerate(find_objects(numbers), start=1):
            label = int(values[number - 1])
            if label == background:
                continue
            first = (box[0].start, box[1].start)
            mask = numbers[box] == number
            yield outline_of(mask, label=label, plane=plane, first=first)


def outline_of(
    mask: MaskArray, *, label: int, plane: int = 0, first: Point = (0, 0)
) -> ObjectOutline:
    """The outline of one object.

    Args:
        mask: Its pixels, shape (I, J).
        label: Its number.
        plane: Number of the plane.
        first: Where the mask's first pixel lies in the picture.
    """
    rings = [ring + np.array(first) for ring in rings_of(mask)]
    return ObjectOutline(label, plane, _parts(rings))


def rings_of(mask: MaskArray) -> list[np.ndarray]:
    """Rings along the pixel edges of a mask of shape (I, J), no point visited twice.

    Outer rings have a positive area by the shoelace formula, those of holes a negative
    one. Pixels that meet at a corner lie in rings that meet there.
    """
    following = _edges(mask)
    rings = []
    while following:
        start = next(iter(following))
        rings += _walk(start, following)
    return [_corners(ring) for ring in rings]


def _edges(mask: MaskArray) -> dict[Point, list[Point]]:
    """Edges between inside and outside by their first point, the inside at the left."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[1:-1, :-2], (0, 0), (1, 0)),
        (padded[2:, 1:-1], (1, 0), (1, 1)),
        (padded[1:-1, 2:], (1, 1), (0, 1)),
        (padded[:-2, 1:-1], (0, 1), (0, 0)),
    )
    following: dict[Point, list[Point]] = {}
    for beyond, first, last in sides:
        for x, y in np.argwhere(inside & ~beyond).tolist():
            end = (x + last[0], y + last[1])
            following.setdefault((x + first[0], y + first[1]), []).append(end)
    return following


def _walk(start: Point, following: dict[Point, list[Point]]) -> list[list[Point]]:
    """Follows edges back to their start; whatever is closed on the way is a ring."""
    rings = []
    path, places = [start], {start: 0}
    while path:
        here = path[-1]
        if here not in following:  # back at a start that has no further edge
            break
        before = path[-2] if len(path) > 1 else None
        there = _next(before, here, following)
        if there in places:
            first = places[there]
            rings.append(path[first:])
            for point in path[first + 1 :]:
                del places[point]
            del path[first + 1 :]
        else:
            places[there] = len(path)
            path.append(there)
    return rings


def _next(
    before: Point | None, here: Point, following: dict[Point, list[Point]]
) -> Point:
    """Takes the next edge; of two, the one that stays at the same pixel (left turn)."""
    ends = following[here]
    chosen = 0
    if len(ends) == 2 and before is not None:
        came = (here[0] - before[0], here[1] - before[1])
        goes = (ends[0][0] - here[0], ends[0][1] - here[1])
        chosen = 0 if came[0] * goes[1] - came[1] * goes[0] > 0 else 1
    end = ends.pop(chosen)
    if not ends:
        del following[here]
    return end


def _corners(ring: list[Point]) -> np.ndarray:
    """The points of a ring where it turns."""
    points = np.array(ring)
    steps = np.roll(points, -1, axis=0) - points
    turns = (steps != np.roll(steps, 1, axis=0)).any(axis=1)
    return np.asarray(points[turns])


def signed_area(ring: np.ndarray) -> float:
    """Area by the shoelace formula: negative around holes."""
    x, y = ring.T.astype(np.int64)
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _parts(rings: list[np.ndarray]) -> tuple[tuple[np.ndarray, ...], ...]:
    """Rings by part: each hole with the smallest outer ring around it."""
    import shapely

    areas = [signed_area(ring) for ring in rings]
    outer = [ring for ring, area in zip(rings, areas, strict=True) if area > 0]
    holes = [ring for ring, area in zip(rings, areas, strict=True) if area < 0]
    members: list[list[np.ndarray]] = [[ring] for ring in outer]
    if len(outer) == 1:
        return ((outer[0], *holes),)
    polygons = [shapely.Polygon(ring) for ring in outer]
    for hole in holes:
        beside = shapely.Point(_left_of(hole))
        around = [n for n, polygon in enumerate(polygons) if polygon.contains(beside)]
        members[min(around, key=lambda n: polygons[n].area)].append(hole)
    return tuple(tuple(part) for part in members)


def _left_of(ring: np.ndarray) -> np.ndarray:
    """Centre of the pixel at the left of a ring's first step, which is the object's."""
    along = np.sign(ring[1] - ring[0])
    return np.asarray(ring[0] + 0.5 * along + 0.5 * np.array([-along[1], along[0]]))
