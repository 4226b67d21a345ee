"""What happens inside a reader process: one call with limits, and how it ended."""

import contextlib
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError, UnreadableFileError
from medseg.io.geometry_warning import recorded_geometry
from medseg.plugins import NOTHING_ALLOWED, Allowance, adopt
from medseg.reading.limits import limit_memory, without_core_dumps
from medseg.reading.shared import pack

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
