"""Closed contours around pixels, and pixels inside contours.

Coordinates are (column, row) in pixels of a plane, pixel centres at whole numbers. A
contour made here runs half-way between a pixel inside and its neighbour outside, so
that the pixels whose centres it encloses are exactly those that it was drawn around.

Contours of one plane combine as in PS3.3 C.8.8.6: those of CLOSED_PLANAR are outlines
and, nested in them, holes; those of CLOSEDPLANAR_XOR combine by exclusive or.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_SMALLEST = 3
_ON_OUTLINE_PX = 0.01
"""A pixel whose centre is this near to an outline lies on it, and so inside."""
_COPY_PX = 0.5
"""Outlines nowhere farther apart than this are one, drawn twice."""
_TOUCHING_PX = 0.05
"""How far a hole may reach past its outline and still be one."""


@dataclass(frozen=True)
class ContourArea:
    """The area that contours of one plane enclose, in pixels.

    Attributes:
        levels: Polygons of the outlines, of the holes in them, of the islands in
            those, and so on; polygons of one level share no area.
        num_copies: Contours left out, as they were there already.
        num_united: Contours that cross others, and became one area with them.
    """

    levels: tuple[tuple[Any, ...], ...]
    num_copies: int = 0
    num_united: int = 0

    def pixels(
        self, shape: tuple[int, int], *, with_outline: bool = True
    ) -> np.ndarray:
        """Pixels whose centres lie inside, shape (rows, columns).

        Args:
            shape: Rows and columns.
            with_outline: Whether centres on the outline, or on that of a hole, count.
        """
        import shapely

        margin = _ON_OUTLINE_PX if with_outline else -_ON_OUTLINE_PX
        mask = np.zeros(shape, dtype=np.bool_)
        for depth, polygons in enumerate(self.levels):
            outward = margin if depth % 2 == 0 else -margin
            grown = shapely.buffer(polygons, outward, join_style="mitre")
            inside = _inside_rings(_rings_of(grown), shape)
            mask = mask | inside if depth % 2 == 0 else mask & ~inside
        return mask


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


def region_of(
    contours: Iterable[np.ndarray], *, is_exclusive: bool = False
) -> ContourArea:
    """The area that the contours of one plane enclose.

    A contour that crosses itself, or runs to a hole and back (a keyhole), encloses
    what it goes round an odd number of times. Contours without area are left out.

    Args:
        contours: Each of shape (points, 2), open or closed.
        is_exclusive: Whether they combine by exclusive or (CLOSEDPLANAR_XOR).
            Otherwise crossing outlines are united, and those within another are
            holes.
    """
    import shapely

    drawn = [shape for points in contours if (shape := _polygon(points)) is not None]
    if not drawn:
        return ContourArea(())
    shapes = _without_copies(drawn)
    num_copies = len(drawn) - len(shapes)
    if is_exclusive:
        whole = shapes[0]
        for shape in shapes[1:]:
            whole = shapely.symmetric_difference(whole, shape)
        return ContourArea((tuple(_polygons_in(whole)),), num_copies)
    areas = _united(shapes)
    return ContourArea(_by_depth(areas), num_copies, len(shapes) - len(areas))


def _polygon(points: np.ndarray) -> Any | None:
    """The area within one contour; None where it has none."""
    import shapely

    half = len(points) // 2
    if len(points) % 2 == 0 and half and np.array_equal(points[:half], points[half:]):
        points = points[:half]  # the pen went round twice
    if len(points) < _SMALLEST:
        return None
    polygon = shapely.Polygon(points)
    parts = [polygon] if polygon.is_valid else _polygons_in(shapely.make_valid(polygon))
    parts = [part for part in parts if part.area > 0]
    return shapely.multipolygons(parts) if parts else None


def _polygons_in(shape: Any) -> list[Any]:
    """The polygons of any geometry; points and lines are left out."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts([shape]))
    return [part for part in parts if part.geom_type == "Polygon"]


def _without_copies(shapes: Sequence[Any]) -> list[Any]:
    """Each outline once, however often and however slightly moved it was drawn."""
    import shapely

    boxes = shapely.bounds(shapes)
    corners = shapely.points(boxes[:, :2])
    one, other = shapely.STRtree(corners).query(
        corners, predicate="dwithin", distance=2 * _COPY_PX
    )
    near = (one < other) & (np.abs(boxes[one] - boxes[other]) <= _COPY_PX).all(axis=1)
    copies = {
        b
        for a, b in zip(one[near].tolist(), other[near].tolist(), strict=True)
        if shapely.hausdorff_distance(shapes[a].boundary, shapes[b].boundary)
        <= _COPY_PX
    }
    return [shape for n, shape in enumerate(shapes) if n not in copies]


def _united(shapes: Sequence[Any]) -> list[Any]:
    """Areas none of which crosses another."""
    import shapely
    from scipy import sparse

    one, other = shapely.STRtree(shapes).query(shapes, predicate="overlaps")
    crossing = [
        (a, b)
        for a, b in zip(one.tolist(), other.tolist(), strict=True)
        if a < b and not _is_nested(shapes[a], shapes[b])
    ]
    if not crossing:
        return list(shapes)
    links = sparse.coo_matrix(
        (np.ones(len(crossing)), tuple(np.transpose(crossing))),
        shape=(len(shapes), len(shapes)),
    )
    count, group = sparse.csgraph.connected_components(links, directed=False)
    members = [
        [s for s, g in zip(shapes, group, strict=True) if g == n] for n in range(count)
    ]
    return [shapely.union_all(shapes) for shapes in members]


def _is_nested(one: Any, other: Any) -> bool:
    """Whether one of two shapes lies within the other, but for a hair's breadth."""
    large, small = sorted([one, other], key=lambda s: s.area, reverse=True)
    return bool(large.buffer(_TOUCHING_PX).contains(small))


def _by_depth(areas: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    """Areas by the number of others that they lie in."""
    import shapely

    inner = [area.representative_point() for area in areas]
    one, other = shapely.STRtree(areas).query(inner, predicate="within")
    sizes = shapely.area(areas)
    depths = np.bincount(one[sizes[other] > sizes[one]], minlength=len(areas))
    levels: list[list[Any]] = [[] for _ in range(int(depths.max()) + 1)]
    for area, depth in zip(areas, depths.tolist(), strict=True):
        levels[depth] += _polygons_in(area)
    return tuple(tuple(level) for level in levels)


def _rings_of(polygons: Sequence[Any]) -> list[np.ndarray]:
    """Closed rings of polygons, each (points, 2), holes among them."""
    import shapely

    rings = shapely.get_rings(shapely.get_parts(polygons))
    return [shapely.get_coordinates(ring) for ring in rings]


def _inside_rings(rings: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie inside an odd number of closed rings.

    Along each row of pixel centres, every edge that crosses the row toggles all
    pixels behind the crossing.
    """
    toggles = np.zeros((shape[0], shape[1] + 1), dtype=np.int32)
    if not rings:
        return toggles[:, :-1].astype(np.bool_)
    edges = np.concatenate([np.hstack([ring[:-1], ring[1:]]) for ring in rings])
    edges = edges[edges[:, 1] != edges[:, 3]]
    x0, y0, x1, y1 = edges.T
    first = np.clip(np.ceil(np.minimum(y0, y1)), 0, shape[0]).astype(np.intp)
    after = np.clip(np.ceil(np.maximum(y0, y1)), 0, shape[0]).astype(np.intp)
    counts = after - first
    edge = np.repeat(np.arange(len(edges)), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    row = first[edge] + np.arange(len(edge)) - starts
    share = (row - y0[edge]) / (y1[edge] - y0[edge])
    crossing = x0[edge] + share * (x1[edge] - x0[edge])
    column = np.clip(np.ceil(crossing), 0, shape[1]).astype(np.intp)
    np.add.at(toggles, (row, column), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1)
