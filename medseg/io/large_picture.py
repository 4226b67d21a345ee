"""Boxes of a TIFF too large for memory: only the tiles or strips they touch are read.

Index order as in `picture.py`: i is the column, j the row, channels first.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import UnreadableFileError
from medseg.io.tiff_header import require_ending_chain
from medseg.types import ImageArray

CACHE_BYTES = 192 * 2**20
"""Decoded tiles or strips that are kept, as neighbours need them again."""
SAMPLE_SIDE, SAMPLE_BOXES = 256, 8
"""A sample has so many boxes along each axis, of so many pixels."""
LARGEST_PART = 64 * 2**20
"""A tile or strip that is larger when decoded cannot be streamed."""


class LargePicture:
    """The first page of a TIFF, read by boxes; a context manager."""

    def __init__(self, path: Path) -> None:
        """Opens the file and reads its header.

        Raises:
            UnreadableFileError: It is no TIFF of tiles or strips of a page, or its
                parts are too large to be read one by one.
        """
        import tifffile

        self.path = path
        require_ending_chain(path)
        try:
            self._file = tifffile.TiffFile(path)
            page: Any = self._file.pages[0].keyframe
        except (OSError, tifffile.TiffFileError, IndexError) as error:
            raise UnreadableFileError(f"{path}: not a TIFF, or damaged") from error
        self._page = page
        self.dtype = np.dtype(page.dtype)
        self.shape = (page.imagewidth, page.imagelength)
        """Columns and rows."""
        self.num_channels = int(page.samplesperpixel)
        self.num_pages = len(self._file.series[0].pages)
        """Pages of the first series; coarser levels of a pyramid do not count."""
        self._is_planar = self.num_channels > 1 and int(page.planarconfig) == 2
        if page.is_tiled:
            self._part = (page.tilewidth, page.tilelength)
        else:
            self._part = (page.imagewidth, page.rowsperstrip)
        self._known: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._require_small_parts()

    def __enter__(self) -> "LargePicture":
        """The picture itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self._file.close()

    @property
    def num_pixels(self) -> int:
        """Columns times rows."""
        return math.prod(self.shape)

    def read(self, box: tuple[slice, slice]) -> ImageArray:
        """The pixels inside a box, shape (C, columns, rows).

        Raises:
            UnreadableFileError: A part of the file is damaged.
        """
        columns, rows = box
        out: ImageArray = np.zeros(
            (
                self.num_channels,
                rows.stop - rows.start,
                columns.stop - columns.start,
            ),
            dtype=self.dtype,
        )
        for index, channels, left, top in self._parts(columns, rows):
            part = self._decoded(index)
            if part is None:
                continue
            height, width = part.shape[:2]
            low, high = max(top, rows.start), min(top + height, rows.stop)
            first, last = max(left, columns.start), min(left + width, columns.stop)
            if low >= high or first >= last:
                continue
            piece = part[low - top : high - top, first - left : last - left]
            out[
                channels,
                low - rows.start : high - rows.start,
                first - columns.start : last - columns.start,
            ] = piece.transpose(2, 0, 1)
        return out.transpose(0, 2, 1)

    @cached_property
    def sample(self) -> ImageArray:
        """Pixels of boxes spread evenly over the picture, shape (C, pixels).

        Raises:
            UnreadableFileError: A part of the file is damaged.
        """
        across, down = (_spread(count) for count in self.shape)
        boxes = [self.read((columns, rows)) for columns in across for rows in down]
        return np.concatenate([box.reshape(len(box), -1) for box in boxes], axis=1)

    def _parts(
        self, columns: slice, rows: slice
    ) -> Iterator[tuple[int, slice, int, int]]:
        """Number, channels, first column and first row of the parts of a box."""
        width, height = self._part
        across = -(-self.shape[0] // width)
        down = -(-self.shape[1] // height)
        planes = range(self.num_channels) if self._is_planar else [0]
        for plane in planes:
            channels = slice(plane, plane + 1) if self._is_planar else slice(None)
            for row in range(rows.start // height, -(-rows.stop // height)):
                for column in range(columns.start // width, -(-columns.stop // width)):
                    index = (plane * down + row) * across + column
                    yield index, channels, column * width, row * height

    def _decoded(self, index: int) -> np.ndarray | None:
        """A part as (rows, columns, channels); None where nothing was stored."""
        if index in self._known:
            self._known.move_to_end(index)
            return self._known[index]
        page = self._page
        count = page.databytecounts[index]
        if count == 0:
            return None
        handle = self._file.filehandle
        handle.seek(page.dataoffsets[index])
        arguments: dict[str, Any] = {"_fullsize": page.is_tiled}
        if page.compression in {6, 7, 34892, 33007}:  # JPEG
            arguments["jpegtables"] = page.jpegtables
            arguments["jpegheader"] = page.jpegheader
        try:
            found = page.decode(handle.read(count), index, **arguments)[0]
        except Exception as error:  # decoders raise whatever they stumble on
            raise UnreadableFileError(
                f"{self.path}: part {index} of the picture is damaged or of a kind "
                f"that cannot be decoded ({error!s:.80})"
            ) from error
        if found is None:
            return None
        return self._keep(index, np.asarray(found)[0])

    def _keep(self, index: int, part: np.ndarray) -> np.ndarray:
        self._known[index] = part
        self._bytes += part.nbytes
        while self._bytes > CACHE_BYTES and len(self._known) > 1:
            _, old = self._known.popitem(last=False)
            self._bytes -= old.nbytes
        return part

    def _require_small_parts(self) -> None:
        size = math.prod(self._part) * self.num_channels * self.dtype.itemsize
        if size > LARGEST_PART:
            raise UnreadableFileError(
                f"{self.path}: stored in strips of {self._part[1]} rows, each "
                f"{size / 2**20:.0f} MB; save it as a tiled TIFF to read it in parts"
            )
        if self.dtype.kind not in "buif":
            raise UnreadableFileError(f"{self.path}: pixels of type {self.dtype}")


def _spread(count: int) -> list[slice]:
    """Ranges of an axis, evenly spread; all of it where it is short."""
    if count <= SAMPLE_SIDE * SAMPLE_BOXES:
        return [slice(0, count)]
    starts = np.linspace(0, count - SAMPLE_SIDE, SAMPLE_BOXES).round().astype(int)
    return [slice(int(start), int(start) + SAMPLE_SIDE) for start in starts]
