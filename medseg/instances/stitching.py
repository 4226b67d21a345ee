"""Objects of an image too large to be decoded at once: tile by tile, none twice.

Seeds are numbered first, over the whole image: those that a tile sees by themselves,
and then joined with those that they touch across the sides of its core. As faces
connect, that gives the very parts that the whole image has. Then each tile floods from
the numbered seeds that it sees and keeps its core. An object that lies across tiles has
one seed, and so one number in all of them; a voxel is written once. The result is that
of the whole image as far as connected foreground reaches no farther than the halo;
beyond it, borders between touching objects may lie a little otherwise near a tile's
side.

Arrays may be anything that is read and written by boxes: memory, or a file.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from medseg.instances.decoding import SeedBook, find_candidates, flood, kept_numbers
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import ObjectMaps
from medseg.types import LabelArray

Box = tuple[slice, ...]


@dataclass(frozen=True)
class ObjectTile:
    """A part of an image.

    Attributes:
        core: Voxels that the tile answers for; each voxel is in one core.
        outer: The core and what lies around it.
        inner: The core, counted from the start of `outer`.
    """

    core: Box
    outer: Box
    inner: Box


@dataclass(frozen=True)
class TileGrid:
    """How an image is cut.

    Attributes:
        shape: Voxels of the image along each axis.
        size: Voxels of a core along each axis, at most.
        halo: How far a tile sees beyond its core.
    """

    shape: tuple[int, ...]
    size: int
    halo: int

    def __iter__(self) -> Iterator[ObjectTile]:
        """The tiles in the order of rows: lower neighbours come first."""
        starts = [range(0, count, self.size) for count in self.shape]
        for corner in itertools.product(*starts):
            parts = [
                self._along(start, count)
                for start, count in zip(corner, self.shape, strict=True)
            ]
            core, outer, inner = zip(*parts, strict=True)
            yield ObjectTile(core, outer, inner)

    def __len__(self) -> int:
        """Number of tiles."""
        count = 1
        for size in self.shape:
            count *= -(-size // self.size)
        return count

    def _along(self, start: int, count: int) -> tuple[slice, slice, slice]:
        stop = min(start + self.size, count)
        low = max(start - self.halo, 0)
        high = min(stop + self.halo, count)
        return slice(start, stop), slice(low, high), slice(start - low, stop - low)


class Boxes(Protocol):
    """An array in memory or in a file, read and written by boxes."""

    def __getitem__(self, box: Box, /) -> Any:
        """The values inside a box."""
        ...

    def __setitem__(self, box: Box, values: np.ndarray, /) -> None:
        """Puts values into a box."""
        ...


def number_seeds(
    foreground: Boxes,
    depth: Boxes,
    out: Boxes,
    grid: TileGrid,
    settings: DecodingSettings,
) -> LabelArray:
    """Writes numbered candidates, and returns the object that each number begins.

    Args:
        foreground: As in `ObjectMaps`, of the whole image.
        depth: The same.
        out: Gets the numbers, uint32.
        grid: Tiles.
        settings: Thresholds.
    """
    book = SeedBook(settings)
    for tile in grid:
        part = ObjectMaps(
            np.asarray(foreground[tile.outer]), np.asarray(depth[tile.outer])
        )
        seeds = book.add(find_candidates(part, settings))[tile.inner]
        out[tile.core] = seeds
        for axis, own in enumerate(tile.core):
            if own.start > 0:
                before = slice(own.start - 1, own.start)
                face = (*tile.core[:axis], before, *tile.core[axis + 1 :])
                book.join(np.asarray(out[face]), seeds.take([0], axis=axis))
    return book.numbers()


def decode_tiles(
    foreground: Boxes,
    depth: Boxes,
    seeds: Boxes,
    out: Boxes,
    grid: TileGrid,
    settings: DecodingSettings,
) -> LabelArray:
    """Decodes an image tile by tile; returns the final number of each object.

    Args:
        foreground: As in `ObjectMaps`, of the whole image.
        depth: The same.
        seeds: Room for numbers of seeds, uint32.
        out: Gets the objects, uint32; not `seeds`, whose halos are read again.
        grid: Tiles.
        settings: Thresholds.

    Returns:
        The final number of each number in `out`, from 1 without gaps; 0 for objects
        that are too small.
    """
    numbers = number_seeds(foreground, depth, seeds, grid, settings)
    sizes = np.zeros(int(numbers.max(initial=0)) + 1, dtype=np.int64)
    for tile in grid:
        part = ObjectMaps(
            np.asarray(foreground[tile.outer]), np.asarray(depth[tile.outer])
        )
        known = numbers[np.asarray(seeds[tile.outer])]
        origin = [axis.start for axis in tile.outer]
        labels = flood(part, known, settings, origin=origin)[tile.inner]
        out[tile.core] = labels
        sizes += np.bincount(labels.ravel(), minlength=len(sizes))
    return kept_numbers(sizes, min_voxels=settings.min_voxels)
