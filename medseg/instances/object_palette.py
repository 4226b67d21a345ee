"""A colour for each single object, unlike those of its neighbours."""

import colorsys
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

PALETTE = (
    (255, 92, 92),
    (0, 165, 230),
    (214, 180, 0),
    (190, 90, 255),
    (0, 180, 90),
    (255, 140, 30),
    (90, 130, 255),
    (255, 75, 195),
    (115, 185, 35),
    (185, 120, 75),
    (0, 180, 165),
    (150, 110, 250),
)
"""Red, green and blue: seen on dark and on light grounds."""
_HUE_STEP = 0.618034


def object_colours(num_objects: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Red, green and blue of each object, uint8, shape (objects + 1, 3).

    Row 0, outside of objects, is black. Colours are spread over the objects; those of a
    pair are different.

    Args:
        num_objects: Objects are numbered from 1 to this.
        pairs: Numbers of objects that lie side by side.
    """
    beside: dict[int, set[int]] = defaultdict(set)
    for first, second in pairs:
        beside[first].add(second)
        beside[second].add(first)
    chosen = [0] * (num_objects + 1)
    for number in range(1, num_objects + 1):
        taken = {chosen[other] for other in beside[number] if other < number}
        chosen[number] = _first_free(number, taken)
    colours = [(0, 0, 0), *(_colour(index) for index in range(max(chosen, default=0)))]
    return np.array(colours, np.uint8)[chosen]


def _first_free(number: int, taken: set[int]) -> int:
    """The palette's colours from another one on for each object, then further ones."""
    for step in range(len(PALETTE)):
        index = 1 + (number - 1 + step) % len(PALETTE)
        if index not in taken:
            return index
    return next(i for i in range(len(PALETTE) + 1, len(taken) + 2) if i not in taken)


def _colour(index: int) -> tuple[int, int, int]:
    if index < len(PALETTE):
        return PALETTE[index]
    shares = colorsys.hls_to_rgb(index * _HUE_STEP % 1, 0.45 + index % 3 / 10, 0.8)
    red, green, blue = (round(255 * share) for share in shares)
    return red, green, blue
