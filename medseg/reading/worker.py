"""What happens inside a reader process: one call with limits, and how it ended.

A file of a few kilobytes that asks for gigabytes, or never ends, is damaged or
malicious; a large scan may take its time. The limits are far above what any healthy
file of its size needs.
"""

import contextlib
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError, UnreadableFileError
from medseg.io.geometry_warning import recorded_geometry
from medseg.plugins import NOTHING_ALLOWED, Allowance, adopt
from medseg.reading.shared import pack

SECONDS = 30.0
"""Allowed for any file, however small."""
BYTES_PER_SECOND = 1_000_000
"""Slowest storage and decoder that are waited for."""
MEMORY = 1_500_000_000
"""Bytes allowed for any file, however small."""
MEMORY_PER_BYTE = 3 * 1032
"""Deflate packs 1032 bytes into one at most (zlib's technical notes); three copies."""
FREE_SHARE = 0.9
"""Of the machine's free memory, what one read may take."""


@dataclass(frozen=True)
class Limits:
    """What one read may take.

    Attributes:
        seconds: From the moment at which its process begins.
        memory: Bytes beyond what the process holds already.
    """

    seconds: float
    memory: int


def limits_for(files: Iterable[Path], *, seconds: float | None = None) -> Limits:
    """Limits for reading some files; those that are gone count nothing.

    Args:
        files: What is read.
        seconds: A limit of time that is known to do.
    """
    import psutil

    total = sum(_size_of(path) for path in files)
    free = int(FREE_SHARE * psutil.virtual_memory().available)
    return Limits(
        seconds=SECONDS + total / BYTES_PER_SECOND if seconds is None else seconds,
        memory=min(free, MEMORY + MEMORY_PER_BYTE * total),
    )


def limit_memory(num_bytes: int) -> None:
    """Lets this process take so many bytes more than it holds.

    Linux alone counts and refuses the private memory of a process (RLIMIT_DATA);
    elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    import resource

    import psutil

    held = int(psutil.Process().memory_info().data)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + num_bytes
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def without_core_dumps() -> None:
    """Keeps a crash of this process from writing its memory to disk."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # gone, or a name that no file can have
        return 0


_IS_READER = False
_VALUE_TELLERS = {"pydicom", "highdicom"}
"""Libraries whose warnings show values of headers; they are judged by the readers."""


@dataclass(frozen=True)
class Call:
    """A function of a module, and what to call it with."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    shown: str
    """The file, for messages."""
    memory: int
    """Bytes that it may take."""
    address: str
    """Where its large arrays go."""
    plugins: Allowance = NOTHING_ALLOWED
    """Readers by path that the parent uses."""
    folder: str = ""
    """The caller's working folder, which relative paths start from; empty: any."""


@dataclass(frozen=True)
class Answer:
    """How a call ended.

    Attributes:
        packed: What it returned or raised, see `shared.pack`.
        is_error: Whether it raised.
        geometry: What was said of geometries.
        remarks: Text and category of other warnings.
    """

    packed: bytes
    is_error: bool = False
    geometry: tuple[str, ...] = ()
    remarks: tuple[tuple[str, type[Warning]], ...] = field(default=())


def is_reader() -> bool:
    """Whether this process reads for another."""
    return _IS_READER


def begin() -> None:
    """Makes this process a reader: silent, without core dumps, gone with its parent."""
    global _IS_READER
    _IS_READER = True
    without_core_dumps()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders print what they die of
        os.dup2(nowhere, stream)
    os.close(nowhere)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def carry_out(call: Call) -> Answer:
    """Calls the function; whatever it raises becomes an answer."""
    limit_memory(call.memory)
    adopt(call.plugins)
    remarks: tuple[tuple[str, type[Warning]], ...] = ()
    geometry: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if call.folder:  # the caller may have moved on since this process began
                os.chdir(call.folder)
            with recorded_geometry() as geometry:
                value = call.function(*call.args)
        remarks = tuple(
            (str(item.message), _sendable(item.category))
            for item in caught
            if issubclass(item.category, UserWarning | RuntimeWarning)
            and not _VALUE_TELLERS & set(Path(item.filename).parts)
        )
        packed, is_error = pack(value, call.address), False
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - decoders in Rust raise such
        packed, is_error = _packed_error(error, call), True
    return Answer(packed, is_error, tuple(dict.fromkeys(geometry)), remarks)


def _packed_error(error: BaseException, call: Call) -> bytes:
    """The error itself where the package made it, else what it says, as a text."""
    if isinstance(error, MemoryError):
        error = UnreadableFileError(
            f"{call.shown}: reading it takes more than {call.memory / 1e9:.1f} GB of "
            "memory; it is damaged, or too large for this machine"
        )
    elif not isinstance(error, MedsegError):
        text = " ".join(str(error).split())[:300]
        error = UnreadableFileError(
            f"{call.shown}: no reader expects this ({type(error).__name__}: {text}); "
            "export it again"
        )
    with contextlib.suppress(Exception):
        return pack(error, "")
    return pack(UnreadableFileError(str(error)), "")


def _sendable(category: type[Warning]) -> type[Warning]:
    """The category where the parent can import it for certain."""
    return category if category.__module__ == "builtins" else UserWarning


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        sys.stderr.flush()
        os._exit(1)
