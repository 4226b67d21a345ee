"""Processes that read files for this one, each call with limits of time and memory.

A file that makes its decoder crash, hang or fill the memory ends a reader and nothing
else; the next call gets a new one. Readers import no torch. On Linux they are forked
from a server that has imported what reading needs, so that a new one takes some
milliseconds; elsewhere each is started anew.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from medseg.errors import UnreadableFileError
from medseg.io.formats import is_read_here
from medseg.io.geometry_warning import repeat_geometry
from medseg.plugins import allowance
from medseg.reading.remembered import REMEMBERED
from medseg.reading.shared import SharedFile
from medseg.reading.worker import (
    Answer,
    Call,
    Limits,
    begin,
    carry_out,
    is_reader,
    limits_for,
)

T = TypeVar("T")

_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
_CONTEXT: Any = multiprocessing.get_context(_METHOD)
_MOST_READERS = 4
_CALLS_PER_READER = 2000
"""Then a reader is replaced, lest a decoder that leaks fills the memory."""


_START_SECONDS = 10.0
"""A reader that is started early has begun after this, or never will."""


class _ReaderProcess(_CONTEXT.Process):  # type: ignore[misc]
    """A process that imports nothing of the program that starts it.

    A script without the guard ``if __name__ == "__main__"`` would run again.
    """

    def start(self) -> None:
        self.daemon = True
        with _START, _without_main(), _as_parent():
            super().start()


class _Context:
    """What Pebble takes of a context of `multiprocessing`."""

    Process = _ReaderProcess
    Pipe = staticmethod(_CONTEXT.Pipe)
    RLock = staticmethod(_CONTEXT.RLock)
    get_start_method = staticmethod(_CONTEXT.get_start_method)


_START = threading.Lock()


class _Reader:
    """One process, replaced when it dies."""

    def __init__(self) -> None:
        if _METHOD == "forkserver":
            _CONTEXT.set_forkserver_preload(["medseg.reading.doors"])
        self._pool = self._new_pool()

    def ask(self, call: Call, seconds: float | None) -> Answer:
        """The answer of the process.

        Raises:
            TimeoutError: It took longer than allowed, and was ended.
            ProcessExpired: It died.
        """
        for attempt in range(2):
            future = None
            try:
                future = self._pool.schedule(carry_out, (call,), timeout=seconds)
                answer: Answer = future.result()
            except (BrokenProcessPool, RuntimeError, CancelledError):
                # a reader that was idle died, such as for the system's lack of memory
                self.stop()
                self._pool = self._new_pool()
                if attempt:
                    raise
            else:
                return answer
            finally:
                if future is not None and not future.done():
                    future.cancel()
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Ends the process."""
        with suppress(Exception):
            self._pool.stop()
            self._pool.join()

    @staticmethod
    def _new_pool() -> Any:
        from pebble import ProcessPool

        return ProcessPool(
            1, max_tasks=_CALLS_PER_READER, initializer=begin, context=_Context()
        )


class _Readers:
    """Idle readers, most recently used first, and how many there may be."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._idle: list[_Reader] = []
        self._all: list[_Reader] = []
        self._free = threading.BoundedSemaphore(
            max(1, min(_MOST_READERS, os.cpu_count() or 1))
        )
        self._guard = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[_Reader]:
        """A reader for the `with` block; waits where all are busy."""
        with self._free:
            with self._guard:
                reader = self._idle.pop() if self._idle else None
            if reader is None:
                reader = _Reader()
                with self._guard:
                    self._all.append(reader)
            try:
                yield reader
            finally:
                with self._guard:
                    self._idle.append(reader)

    def stop(self) -> None:
        """Ends all readers."""
        with self._guard:
            readers, self._all, self._idle = self._all, [], []
        for reader in readers:
            reader.stop()


_readers: _Readers | None = None
_early: threading.Thread | None = None
_MAKING = threading.Lock()


def guarded(
    function: Callable[..., T],
    *args: Any,
    files: Sequence[Path],
    shown: str = "",
    seconds: float | None = None,
) -> T:
    """What a function returns or raises, called in a reader process with limits.

    Warnings of the function are given in this process. Inside a reader the function is
    called as it is.

    Args:
        function: At the top of a module; it and its arguments can be pickled.
        args: What to call it with.
        files: What it reads: decides the limits.
        shown: What is read, for messages; the first file by default.
        seconds: Another limit of time than the one that follows from the files.

    Raises:
        UnreadableFileError: Reading ended its process, now or earlier.
    """
    if is_reader() or any(map(is_read_here, files)):
        return function(*args)
    shown = shown or str(files[0] if files else "")
    if known := REMEMBERED.reason(files):
        raise UnreadableFileError(f"{shown}: {known}")
    limits = limits_for(files, seconds=seconds)
    with SharedFile() as shared, _current().one() as reader:
        call = Call(
            function,
            args,
            shown,
            limits.memory,
            shared.address,
            allowance(),
            _working_folder(),
        )
        try:
            answer = reader.ask(call, limits.seconds)
        except Exception as error:
            if not (reason := _in_words(error, limits)):
                raise
            REMEMBERED.add(files, reason)
            raise UnreadableFileError(f"{shown}: {reason}") from error
        value = shared.load(answer.packed)
    for text in answer.geometry:
        repeat_geometry(text)
    for text, category in answer.remarks:
        warnings.warn(text, category, stacklevel=3)
    if answer.is_error:
        raise value
    found: T = value
    return found


def start_early() -> None:
    """Starts a reader in the background, while this process is busy with others."""
    global _early
    if is_reader():
        return
    _early = threading.Thread(target=_start_one, daemon=True)
    _early.start()


def stop_readers() -> None:
    """Ends all readers; a later call starts new ones.

    One that is just being started is waited for: without its parent it would complain.
    """
    global _readers
    if _early is not None:
        _early.join(timeout=_START_SECONDS)
    with _MAKING:
        readers, _readers = _readers, None
    if readers is not None:
        readers.stop()


def _working_folder() -> str:
    """Where relative paths start; empty where that folder was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - as it is, links and all
    except FileNotFoundError:
        return ""


def _start_one() -> None:
    with suppress(Exception), _current().one() as reader:
        reader.ask(Call(os.getpid, (), "", 10**9, ""), None)


def _current() -> _Readers:
    """The readers of this process; a forked one has none of its parent's."""
    global _readers
    with _MAKING:
        if _readers is None or _readers.owner != os.getpid():
            _readers = _Readers()
        return _readers


def _in_words(error: Exception, limits: Limits) -> str:
    """How a reader was ended; empty for other errors."""
    from pebble import ProcessExpired

    if isinstance(error, TimeoutError):
        return (
            f"reading did not end within {limits.seconds:.0f} s and was stopped; the "
            "file is damaged or its storage does not answer"
        )
    if isinstance(error, ProcessExpired):
        return (
            f"reading ended its process ({_cause(error.exitcode)}); the file is "
            "damaged in a way that its decoder cannot take"
        )
    return ""


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


@contextmanager
def _without_main() -> Iterator[None]:
    """Hides the program, whose file a new process would run to find its classes."""
    main = sys.modules.get("__main__")
    blank: Any = types.ModuleType("__main__")
    blank.__spec__ = None
    sys.modules["__main__"] = blank
    try:
        yield
    finally:
        if main is not None:
            sys.modules["__main__"] = main


@contextmanager
def _as_parent() -> Iterator[None]:
    """Lets a daemonic process, such as a server's worker, have a reader.

    `multiprocessing` forbids it children because they would outlive it; readers end
    with their parent.
    """
    config: dict[str, Any] = getattr(multiprocessing.current_process(), "_config", {})
    is_daemon = config.pop("daemon", None)
    try:
        yield
    finally:
        if is_daemon is not None:
            config["daemon"] = is_daemon


atexit.register(stop_readers)
