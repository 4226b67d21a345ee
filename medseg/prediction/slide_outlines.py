"""The outlines of a picture too large for memory, as a pyramid that viewers page in."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medseg.files import atomic_write
from medseg.inference.slide import ByteFile
from medseg.instances.stitching import ObjectTile, TileGrid
from medseg.reporting.outlines import draw_outlines
from medseg.types import ImageArray, LabelArray

WRITTEN_TILE = 512
"""Side of the tiles of the TIFF."""
COARSEST = 1024
"""Levels are added, each half as fine, until both sides are at most so many pixels."""
STEP = 2048
"""Side of the parts that a level is made coarser in."""


class SlideOutlines:
    """Takes the picture and its objects tile by tile, then writes them as one TIFF.

    Args:
        folder: For temporary files, four bytes a pixel.
        shape: Columns and rows of the picture.
        span: Intensities that are shown as black and as white.
        colours: Red, green and blue of each object, shape (objects + 1, 3).
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int],
        span: tuple[float, float],
        colours: np.ndarray,
    ) -> None:
        self._span, self._colours = span, colours
        columns, rows = shape
        self._levels: list[ByteFile] = []
        while True:
            path = folder / f"outlines_{len(self._levels)}"
            self._levels.append(ByteFile(path, (rows, columns, 3), np.uint8))
            if max(rows, columns) <= COARSEST:
                break
            rows, columns = -(-rows // 2), -(-columns // 2)

    def add(self, voxels: ImageArray, labels: LabelArray, tile: ObjectTile) -> None:
        """Draws what lies in a tile's core.

        Args:
            voxels: The picture in the tile and around it, shape (C, I, J).
            labels: Its objects, shape (I, J), 0 outside.
            tile: Where it lies.
        """
        # a border shows with the pixel beyond it; no more of the halo is needed
        near = tuple(slice(max(p.start - 1, 0), p.stop + 1) for p in tile.inner)
        drawn = draw_outlines(
            voxels[(slice(None), *near)],
            labels[near],
            span=self._span,
            colours=self._colours,
        )
        skip = tuple(min(p.start, 1) for p in tile.inner)
        columns, rows = tile.core
        width, height = columns.stop - columns.start, rows.stop - rows.start
        drawn = drawn[skip[0] : skip[0] + width, skip[1] : skip[1] + height]
        self._levels[0][rows, columns] = drawn.transpose(1, 0, 2)

    def write(self, path: Path) -> None:
        """Writes an OME-TIFF: colours, in tiles, with coarser levels as sub-images.

        Args:
            path: The file, which viewers know by ``.ome.tif``.

        Raises:
            OutputError: The file cannot be written.
        """
        import tifffile

        for fine, coarse in zip(self._levels, self._levels[1:], strict=False):
            _halve(fine, coarse)
        first, *coarser = self._levels
        large = 2 * np.prod(first.shape, dtype=np.int64) > 2**32
        with (
            atomic_write(path) as temporary,
            tifffile.TiffWriter(temporary, bigtiff=bool(large), ome=True) as file,
        ):
            for level in self._levels:
                file.write(
                    _tiles(level),
                    shape=level.shape,
                    dtype=level.dtype,
                    tile=(WRITTEN_TILE, WRITTEN_TILE),
                    photometric="rgb",
                    compression="zlib",
                    compressionargs={"level": 3},  # a third of the time, no larger
                    predictor=True,
                    subifds=len(coarser) if level is first else None,
                    subfiletype=0 if level is first else 1,
                    metadata={"axes": "YXS"} if level is first else None,
                )


def _halve(fine: ByteFile, coarse: ByteFile) -> None:
    """Each pixel becomes the mean of four, at the end of an odd axis of two."""
    for tile in TileGrid(coarse.shape[:2], STEP // 2, 0):
        box = tuple(slice(2 * part.start, 2 * part.stop) for part in tile.core)
        part = fine[box].astype(np.uint16)
        odd = [(0, size % 2) for size in part.shape[:2]]
        part = np.pad(part, (*odd, (0, 0)), mode="edge")
        pairs = part[0::2] + part[1::2]
        mean = (pairs[:, 0::2] + pairs[:, 1::2] + 2) // 4
        coarse[tile.core] = mean.astype(np.uint8)


def _tiles(level: ByteFile) -> Iterator[np.ndarray]:
    """From top to bottom; those at the far sides filled up with black."""
    rows, columns, _ = level.shape
    for top in range(0, rows, WRITTEN_TILE):
        for left in range(0, columns, WRITTEN_TILE):
            part = level[top : top + WRITTEN_TILE, left : left + WRITTEN_TILE]
            tile = np.zeros((WRITTEN_TILE, WRITTEN_TILE, 3), np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
