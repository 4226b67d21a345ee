"""A large array in a temporary file, of which no more than a box is in memory."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from medseg.instances.tiles import Box


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
