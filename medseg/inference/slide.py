"""Single objects of a picture too large for memory, in three passes over tiles.

    1  the network's answer, two bytes a pixel, to a temporary file
    2  seeds, numbered over the whole picture; then watershed, tile by tile
    3  the label map, as a tiled TIFF, from the top to the bottom

Memory is that of a tile, whatever the size of the picture; the disk needs ten bytes a
pixel while it works.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from medseg.files import atomic_write
from medseg.inference.objects import object_values
from medseg.inference.predictor import Predictor
from medseg.instances.stitching import Box, ObjectTile, TileGrid, decode_tiles
from medseg.io.large_picture import LargePicture
from medseg.io.tiff_header import size_note
from medseg.preparation.normalization import Stretch
from medseg.preparation.preprocessing import require_finite, with_channels
from medseg.progress import Progress, Silent
from medseg.reading.slides import SlideReader
from medseg.types import Affine, ImageArray, LabelArray
from medseg.volume import Volume


class ByteFile:
    """Read and written by boxes; pages are let go after each."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Makes a file of zeros, which takes no disk until it is written.

        Args:
            path: Where.
            shape: Of the array.
            dtype: Of its values.

        Raises:
            OSError: The disk is full or read-only.
        """
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        np.memmap(path, dtype=self.dtype, mode="w+", shape=shape).flush()

    def __getitem__(self, box: Box) -> np.ndarray:
        """The values inside a box, in memory of their own."""
        return np.array(self._map("r")[box])

    def __setitem__(self, box: Box, values: np.ndarray) -> None:
        """Puts values into a box."""
        mapped = self._map("r+")
        mapped[box] = values
        mapped.flush()

    def _map(self, mode: Literal["r", "r+"]) -> np.memmap:
        mapped: np.memmap = np.memmap(self.path, self.dtype, mode, shape=self.shape)
        return mapped


WRITTEN_TILE = 512
"""Side of the tiles of the written TIFF."""


Look = Callable[[ImageArray, LabelArray, ObjectTile], None]
"""Is given each tile's picture and final objects, with the halo around it."""


@dataclass(frozen=True)
class SlideRun:
    """A large picture on its way through a predictor.

    Attributes:
        predictor: Of a plan of pictures whose objects are learned.
        picture: Read by boxes.
        side: Pixels of a tile along each axis.
        halo: How far a tile sees beyond that; as wide as the widest clump of cells.
        progress: Shows progress.
    """

    predictor: Predictor
    picture: LargePicture | SlideReader
    side: int = 2048
    halo: int = 256
    progress: Progress = field(default_factory=Silent)

    @contextmanager
    def segmented(
        self, folder: Path, *, notes: list[str] | None = None
    ) -> Iterator["SlideObjects"]:
        """The objects of the picture, in temporary files while the block lasts.

        Args:
            folder: Where the files go.
            notes: Gets a line for what was done otherwise than asked.

        Raises:
            InputError: Pixels are NaN or infinite.
            UnreadableFileError: A part of the picture is damaged.
            OSError: The disk is full or read-only.
        """
        shape = self.picture.shape
        grid = TileGrid(shape, self.side, self.halo)
        with TemporaryDirectory(dir=folder, prefix=".slide_") as temporary:
            place = Path(temporary)
            foreground = ByteFile(place / "foreground", shape, np.uint8)
            depth = ByteFile(place / "depth", shape, np.uint8)
            self._ask(foreground, depth, notes)
            seeds = ByteFile(place / "seeds", shape, np.uint32)
            labels = ByteFile(place / "labels", shape, np.uint32)
            final = decode_tiles(
                foreground, depth, seeds, labels, grid, self.predictor.decoding
            )
            yield SlideObjects(self, grid, labels, final)

    def measure(self) -> Stretch:
        """The stretch of intensities, from boxes spread evenly over the picture."""
        sample = self._coloured(self.picture.sample[..., None])
        return Stretch.measure(sample, channels=self.predictor.plan.channels)

    def _ask(
        self, foreground: ByteFile, depth: ByteFile, notes: list[str] | None
    ) -> None:
        """First pass: the network's answer; rows of tiles, as files are stored."""
        stretch = self.measure()
        around = max(self.predictor.plan.patch_size) // 2
        grid = TileGrid(self.picture.shape, self.side, around)
        tiles = sorted(grid, key=lambda tile: (tile.core[1].start, tile.core[0].start))
        said: list[str] = []
        for tile in self.progress.track(tiles, label="tiles", total=len(tiles)):
            voxels = self._coloured(self.picture.read(_flat(tile)))
            image = np.ascontiguousarray(stretch.apply(voxels)[..., None])
            found = self.predictor.depths(image, notes=said)
            foreground[tile.core] = found.foreground[..., 0][tile.inner]
            depth[tile.core] = found.depth[..., 0][tile.inner]
        if notes is not None:
            notes += dict.fromkeys(said)

    def _coloured(self, voxels: ImageArray) -> ImageArray:
        """As many channels as the network takes, shape (C, columns, rows).

        Raises:
            InputError: Pixels are NaN or infinite.
        """
        names = self.predictor.plan.channel_names
        volume = Volume(voxels[..., None], np.eye(4))
        name = self.picture.path.name
        require_finite(voxels, name)
        return with_channels(volume, names, name=name).voxels[..., 0]


@dataclass(frozen=True)
class SlideObjects:
    """What was found.

    Attributes:
        run: The picture.
        grid: Its tiles.
        labels: Numbers of parts of objects, shape (columns, rows).
        final: Of each such number, that of the object.
    """

    run: SlideRun
    grid: TileGrid
    labels: ByteFile
    final: LabelArray

    @property
    def count(self) -> int:
        """Number of objects."""
        return int(self.final.max(initial=0))

    def show(self, look: Look) -> None:
        """Shows each tile of the picture with its objects.

        Raises:
            UnreadableFileError: A part of the picture is damaged.
        """
        track = self.run.progress.track
        for tile in track(self.grid, label="measuring cells", total=len(self.grid)):
            objects = self.final[self.labels[tile.outer]]
            look(self.run.picture.read(_flat(tile)), objects, tile)

    def write(self, path: Path, affine: Affine | None = None) -> int:
        """Writes the label map as a tiled TIFF, from top to bottom.

        Args:
            path: The file.
            affine: Of the picture; its pixel size is kept.

        Returns:
            Pixels of objects.

        Raises:
            OutputError: The file cannot be written.
        """
        import tifffile

        columns, rows = self.labels.shape
        values, pixels = self.values, 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal pixels
            for tile in self.tiles(values):
                pixels += int(np.count_nonzero(tile != values[0]))
                yield tile

        with atomic_write(path) as temporary:
            tifffile.imwrite(
                temporary,
                counted(),
                shape=(rows, columns),
                dtype=values.dtype,
                tile=(WRITTEN_TILE, WRITTEN_TILE),
                compression="zlib",
                photometric="minisblack",
                metadata={"axes": "YX", **size_note(affine)},
                bigtiff=rows * columns * values.dtype.itemsize > 2**31,
            )
        return pixels

    @property
    def values(self) -> LabelArray:
        """The value in the label map of each object, first that of the outside."""
        return object_values(self.count, self.run.predictor.plan.labels)

    def tiles(self, values: LabelArray) -> Iterator[np.ndarray]:
        """Tiles of a TIFF from top to bottom, filled up at the far sides.

        Args:
            values: What is written for each object, first that of the outside.
        """
        columns, rows = self.labels.shape
        of_parts = values[self.final]
        for top in range(0, rows, WRITTEN_TILE):
            for left in range(0, columns, WRITTEN_TILE):
                across = slice(left, left + WRITTEN_TILE)
                part = of_parts[self.labels[across, top : top + WRITTEN_TILE]].T
                tile = np.full((WRITTEN_TILE, WRITTEN_TILE), values[0], values.dtype)
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile


def _flat(tile: ObjectTile) -> tuple[slice, slice]:
    columns, rows = tile.outer
    return columns, rows
