"""Boxes of a TIFF too large for memory, read and decoded in a reader process."""

from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from medseg.io.large_picture import LargePicture
from medseg.reading.pool import guarded
from medseg.types import ImageArray

Box = tuple[slice, slice]


class SlideReader:
    """What `medseg.io.large_picture.LargePicture` is, in another process.

    The file stays open there, and its decoded parts are kept there.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file's header.

        Raises:
            UnreadableFileError: It is no TIFF of tiles or strips of a page, or its
                parts are too large to be read one by one.
        """
        self.path = path
        found = guarded(_facts, path, files=[path])
        self.dtype, self.shape, self.num_channels, self.num_pages = found

    def __enter__(self) -> "SlideReader":
        """The picture itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the file to the reader, which closes it for the next one."""

    @property
    def num_pixels(self) -> int:
        """Columns times rows."""
        return self.shape[0] * self.shape[1]

    def read(self, box: Box) -> ImageArray:
        """The pixels inside a box, shape (C, columns, rows).

        Raises:
            UnreadableFileError: A part of the file is damaged.
        """
        return guarded(_pixels, self.path, box, files=[self.path])

    @cached_property
    def sample(self) -> ImageArray:
        """Pixels of boxes spread evenly over the picture, shape (C, pixels).

        Raises:
            UnreadableFileError: A part of the file is damaged.
        """
        return guarded(_sample, self.path, files=[self.path])


def _facts(path: Path) -> tuple[np.dtype, tuple[int, int], int, int]:
    _open.cache_clear()
    picture = _open(path)
    return picture.dtype, picture.shape, picture.num_channels, picture.num_pages


def _pixels(path: Path, box: Box) -> ImageArray:
    return _open(path).read(box)


def _sample(path: Path) -> ImageArray:
    return _open(path).sample


@lru_cache(maxsize=1)
def _open(path: Path) -> LargePicture:
    return LargePicture(path)
