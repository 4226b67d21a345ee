"""Arrays on disk of which a patch is read without reading the rest.

A case is a plain memory-mapped ``.npy`` file, or a blosc2 ``.b2nd`` file in chunks
where disk is short. Measured on 128³ patches of 320 x 320 x 200 in page cache, one
thread: plain float16 1583 patches/s and 41 MB, plain float32 1170/s and 82 MB,
blosc2 LZ4 float16 175/s and 30 MB, float32 207/s and 66 MB.

Pages that were read count as memory of the process as long as they are mapped, and
mapping anew costs a page fault for each of them: so recently used arrays stay mapped,
and a data set larger than the limit does not fill the process.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np

Compression: TypeAlias = Literal["none", "lz4"]
"""``none``: memory-mapped as it is; ``lz4``: chunks, smaller and slower to read."""

Box: TypeAlias = tuple[slice, slice, slice]
"""Part of an array along its last three axes; slices with plain bounds."""

WHOLE: Box = (slice(None), slice(None), slice(None))
"""Everything."""

_CHUNK, _BLOCK = 64, 32


def write_array(folder: Path, name: str, array: np.ndarray, how: Compression) -> None:
    """Writes an array into a folder that is not yet in its place.

    Through Python's own file, whose errors say why (a full disk). Not forced to the
    platter: a store can be prepared again.
    """
    if how == "none":
        with (folder / f"{name}.npy").open("wb") as stream:
            _write_npy(stream, np.ascontiguousarray(array))
    else:
        (folder / f"{name}.b2nd").write_bytes(_compressed(array))


def _write_npy(stream: BinaryIO, array: np.ndarray) -> None:
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, header)
    stream.write(array.reshape(-1).view(np.uint8).data)


def open_array(folder: Path, name: str) -> Any:
    """The array of that name, not yet read: indexing it reads what is asked for.

    Raises:
        FileNotFoundError: There is none.
    """
    plain = folder / f"{name}.npy"
    if plain.exists():
        # copy-on-write, so that torch takes patches without a warning; nothing is
        # ever written through it
        return np.load(plain, mmap_mode="c")
    import blosc2

    compressed = folder / f"{name}.b2nd"
    if not compressed.exists():
        raise FileNotFoundError(plain)
    return blosc2.open(
        str(compressed), mode="r", mmap_mode="r", dparams={"nthreads": 1}
    )


def _compressed(array: np.ndarray) -> bytes:
    import blosc2

    space = array.ndim - 3
    filters = [
        blosc2.Filter.BITSHUFFLE if array.itemsize > 1 else blosc2.Filter.NOFILTER
    ]
    packed = blosc2.asarray(
        np.ascontiguousarray(array),
        chunks=(1,) * space + tuple(min(_CHUNK, n) for n in array.shape[space:]),
        blocks=(1,) * space + tuple(min(_BLOCK, n) for n in array.shape[space:]),
        cparams={
            "codec": blosc2.Codec.LZ4,
            "clevel": 5,
            "filters": filters,
            "filters_meta": [0],
            "nthreads": 1,
        },
    )
    frame: bytes = packed.to_cframe()
    return frame


MOST_MAPPED_BYTES = 384 * 2**20


class MappedArrays:
    """Opens arrays and keeps the recently used ones open; safe between threads."""

    def __init__(self, most_bytes: int = MOST_MAPPED_BYTES) -> None:
        self._most = most_bytes
        self._open: OrderedDict[tuple[Path, str], Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, folder: Path, name: str) -> Any:
        """The array of that name in a folder.

        Raises:
            OSError: It cannot be opened.
            ValueError: It is damaged.
        """
        key = (folder, name)
        with self._lock:
            array = self._open.get(key)
            if array is None:
                array = open_array(folder, name)
                self._open[key] = array
                self._bytes += array.nbytes
                self._give_up()
            else:
                self._open.move_to_end(key)
        return array

    def forget(self, folder: Path) -> None:
        """Closes what is open of a folder, whose content has changed."""
        with self._lock:
            for key in [key for key in self._open if key[0] == folder]:
                self._bytes -= self._open.pop(key).nbytes

    def _give_up(self) -> None:
        """Closes the least recently used; what somebody still reads stays valid."""
        while self._bytes > self._most and len(self._open) > 1:
            _, array = self._open.popitem(last=False)
            self._bytes -= array.nbytes


MAPPED = MappedArrays()
"""What this process has mapped."""
