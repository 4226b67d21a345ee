"""Values with large arrays from one process to another, the arrays by shared memory.

The receiver makes a file without a name and says where it is; the sender writes the
arrays into it, and pickles the rest. The receiver maps the file: no array goes through
a pipe. Where the system has no such files, arrays are pickled like everything else.
"""

import io
import math
import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SMALLEST = 1 << 16
"""Bytes from which on an array is worth a place of its own."""
_ALIGNMENT = 64


class SharedFile:
    """A file without a name that another process can open; a context manager."""

    def __init__(self) -> None:
        """Makes the file, in memory where the system has such files."""
        self._descriptor = -1
        self._path: Path | None = None
        self.address = ""
        """Where the other process opens it; empty where there is no such way."""
        if sys.platform == "linux":
            self._descriptor = os.memfd_create("medseg", os.MFD_CLOEXEC)
            self.address = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        elif os.name == "posix":
            self._descriptor, name = tempfile.mkstemp(prefix="medseg-")
            self._path = Path(name)
            self.address = name

    def __enter__(self) -> "SharedFile":
        """The file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file; what is mapped stays as long as an array uses it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def load(self, packed: bytes) -> Any:
        """The value that `pack` put into bytes and this file."""
        size = os.fstat(self._descriptor).st_size if self._descriptor >= 0 else 0
        mapped = mmap.mmap(self._descriptor, size) if size else None
        return _Unpickler(io.BytesIO(packed), mapped).load()


def pack(value: object, address: str) -> bytes:
    """Bytes of a value whose large arrays lie in a shared file.

    Args:
        value: Anything that can be pickled.
        address: Of the shared file; without, arrays are part of the bytes.
    """
    stream = io.BytesIO()
    try:
        if address:
            with Path(address).open("r+b", buffering=0) as file:
                _Pickler(stream, file).dump(value)
            return stream.getvalue()
    except OSError:  # another user's process table, no room left
        stream = io.BytesIO()
    pickle.dump(value, stream, protocol=5)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    """Writes large arrays into a file, in the order in which they lie in memory."""

    def __init__(self, stream: io.BytesIO, file: Any) -> None:
        super().__init__(stream, protocol=5)
        self._file: BinaryIO = file
        self._end = 0
        self._known: dict[int, tuple[Any, ...]] = {}
        self._kept: list[np.ndarray] = []
        """Keeps the numbers of `_known` from being given to other arrays."""

    def persistent_id(self, found: object) -> tuple[Any, ...] | None:
        if type(found) is not np.ndarray or found.nbytes < SMALLEST:
            return None
        if found.dtype.hasobject:
            return None
        if id(found) not in self._known:
            self._known[id(found)] = self._write(found)
            self._kept.append(found)
        return self._known[id(found)]

    def _write(self, array: np.ndarray) -> tuple[Any, ...]:
        """Where an array begins, its type, its shape and the order of its axes."""
        order = sorted(
            range(array.ndim), key=lambda axis: abs(array.strides[axis]), reverse=True
        )
        laid: Any = np.ascontiguousarray(array.transpose(order))
        start = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        self._file.seek(start)
        _write_all(self._file, memoryview(laid).cast("B"))
        self._end = start + laid.nbytes
        return (start, array.dtype, laid.shape, order)


class _Unpickler(pickle.Unpickler):
    """Finds large arrays in mapped memory."""

    def __init__(self, stream: io.BytesIO, mapped: mmap.mmap | None) -> None:
        super().__init__(stream)
        self._mapped = mapped

    def persistent_load(self, place: Any) -> np.ndarray:
        start, dtype, shape, order = place
        assert self._mapped is not None
        laid = np.frombuffer(
            self._mapped, dtype=dtype, count=math.prod(shape), offset=start
        ).reshape(shape)
        return laid.transpose(_inverse(order))


def _inverse(order: Sequence[int]) -> list[int]:
    return [int(axis) for axis in np.argsort(order)]


def _write_all(file: BinaryIO, block: memoryview) -> None:
    """Unbuffered files may take less than they are given at once."""
    while len(block):
        block = block[file.write(block) :]
