"""One writer for each folder of results; one process at a time for what is shared."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from medseg.errors import OutputError
from medseg.files import write_text
from medseg.progress import Progress

LOCK, OWNER = ".medseg.lock", ".medseg.owner"
_LEFT = (
    *(".????????.part.*", ".????????.old.*"),
    *(".slide_*", "outlines/.drawn_*"),
)
"""Files and folders that a call makes for a while."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Makes this process the only medseg that writes to a folder.

    The operating system holds the lock and lets go of it when the process ends,
    however it ends, so that a killed call leaves no lock behind. Unfinished files of
    a killed call are removed, and so is a new folder that nothing was written to.

    Raises:
        OutputError: Another process writes there, which is named, or the folder
            cannot be written.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(
            f"{folder}: {_owner(folder)} writes results here; wait until it ends or "
            "choose another folder"
        ) from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        _clear(folder)
        write_text(folder / OWNER, json.dumps(_self()))
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # such as another call's that began meanwhile
            if is_new and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


@contextmanager
def one_at_a_time(lock: Path, *, doing: str, progress: Progress) -> Iterator[None]:
    """Lets one process do what others that run beside it need too; they wait.

    Args:
        lock: File that is locked; made where it is missing, and left there.
        doing: What the other process does, for those who wait.
        progress: Told of the wait.

    Raises:
        OutputError: The file cannot be written.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            progress.say(f"{lock.parent}: another process {doing}; waiting")
            held.acquire()
    except OSError as error:
        raise OutputError(
            f"{lock.parent}: cannot be written: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        held.release()


def _self() -> dict[str, str | int]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _owner(folder: Path) -> str:
    """Who holds the lock, in words."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return (
            f"another medseg (process {owner['process']} on {owner['host']}, since "
            f"{owner['since']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another medseg"


def _clear(folder: Path) -> None:
    """Removes what killed calls left; nobody else writes here now.

    A folder whose replacement did not get its name is put back.
    """
    for path in folder.glob(".????????.old.*"):
        whole = path.with_name(path.name.partition(".old.")[2])
        with suppress(OSError):
            if path.is_dir() and not whole.exists():
                path.replace(whole)
    for pattern in _LEFT:
        for path in folder.glob(pattern):
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
