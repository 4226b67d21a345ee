"""Arrays of a store that are mapped into memory now, up to a number of bytes.

Pages that were read count as memory of the process as long as they are mapped, and
mapping anew costs a page fault for each of them: so recently used arrays stay mapped,
and a data set larger than the limit does not fill the process.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from medseg.store.arrays import open_array

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
