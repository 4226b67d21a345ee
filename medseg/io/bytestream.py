"""Reading plain or gzipped bytes, never more than the caller expects."""

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medseg.errors import MissingFileError, UnreadableFileError

_BLOCK = 1 << 18
_MOST_COMPRESSED = 1032
"""Largest ratio that deflate reaches (zlib's technical notes)."""
_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """An open file; what the operating system refuses becomes one clear line.

    Raises:
        MissingFileError: There is no such file.
        UnreadableFileError: It may not be read, is a folder, or is empty.
    """
    try:
        require_regular(path, path.stat())
        stream = path.open("rb")
    except UnreadableFileError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise UnreadableFileError(
            f"{path}: cannot be opened: {error.strerror}"
        ) from error
    with stream:
        if not stream.read(1):
            raise UnreadableFileError(f"{path}: the file is empty")
        stream.seek(0)
        try:
            yield stream
        except OSError as error:
            if error.errno is None:
                raise
            raise UnreadableFileError(
                f"{path}: cannot be read: {error.strerror}"
            ) from error


def require_regular(path: Path, state: os.stat_result) -> None:
    """Refuses what is no file: opening a FIFO waits, a device may never end.

    Raises:
        UnreadableFileError: It is a FIFO, a socket or a device.
    """
    kinds = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    if kind := kinds.get(stat.S_IFMT(state.st_mode)):
        raise UnreadableFileError(f"{path}: {kind}, expected a file")


class ByteSource:
    """Bytes of a plain or gzipped file, in order, each read of a known length.

    Only as much is decompressed as is asked for, so that a small file which expands
    without end does no harm.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        magic = stream.read(2)
        stream.seek(0)
        self._gzip = _new_gzip() if magic == _GZIP_MAGIC else None
        self._pending = b""

    def read(self, count: int) -> np.ndarray:
        """The next bytes as a writable array, shape (count,), uint8.

        Raises:
            UnreadableFileError: The file ends early or its compression is damaged.
        """
        self._require_plausible(count)
        require_memory(count, self._path)
        target = np.empty(count, dtype=np.uint8)
        filled = self._fill(target)
        if filled < count:
            raise UnreadableFileError(
                f"{self._path}: the file is truncated: {count} bytes expected, "
                f"{filled} found; copy or export it again"
            )
        return target

    def finish(self) -> None:
        """Reads to the end of a compressed member, which verifies its checksum.

        Raises:
            UnreadableFileError: The checksum is wrong or missing.
        """
        if self._gzip is None:
            return
        rest = np.empty(1 << 12, dtype=np.uint8)
        if self._fill(rest) < len(rest) and not self._gzip.eof:
            raise UnreadableFileError(
                f"{self._path}: the compressed file is truncated; copy it again"
            )

    def _require_plausible(self, count: int) -> None:
        """Refuses, before anything is allocated, more bytes than can be there."""
        size = os.fstat(self._stream.fileno()).st_size
        limit = size * _MOST_COMPRESSED if self._gzip is not None else size
        if count > limit:
            raise UnreadableFileError(
                f"{self._path}: the file is truncated or its header is wrong: "
                f"{count} bytes expected, at most {limit} can be there"
            )

    def _fill(self, target: np.ndarray) -> int:
        if self._gzip is None:
            whole = self._stream.read(len(target))
            target[: len(whole)] = np.frombuffer(whole, dtype=np.uint8)
            return len(whole)
        filled = 0
        while filled < len(target):
            piece = self._inflate(len(target) - filled)
            if piece is None:
                break
            target[filled : filled + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            filled += len(piece)
        return filled

    def _inflate(self, limit: int) -> bytes | None:
        """Up to `limit` more bytes; None at the end of the file."""
        assert self._gzip is not None
        if self._gzip.eof:
            follow = self._gzip.unused_data + self._stream.read(2)
            if not follow.startswith(_GZIP_MAGIC):
                return None
            self._gzip, self._pending = _new_gzip(), follow
        block: bytes = (
            self._gzip.unconsumed_tail or self._pending or self._stream.read(_BLOCK)
        )
        self._pending = b""
        if not block:
            return None
        try:
            return bytes(self._gzip.decompress(block, limit))
        except zlib.error as error:
            raise UnreadableFileError(
                f"{self._path}: the compressed data are damaged ({error})"
            ) from error


def require_memory(count: int, path: Path) -> None:
    """Refuses a request that the machine's free memory cannot hold.

    Raises:
        UnreadableFileError: More than the available memory is asked for.
    """
    if count < 1 << 28:
        return
    import psutil

    available = psutil.virtual_memory().available
    if count > available:
        raise UnreadableFileError(
            f"{path}: its header asks for {count / 1e9:.1f} GB, "
            f"{available / 1e9:.1f} GB of memory are free"
        )


def _new_gzip() -> "zlib._Decompress":
    return zlib.decompressobj(wbits=31)
