"""A large image as tiles that see a little farther than they answer for."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

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
