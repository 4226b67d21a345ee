"""Files that ended the process that read them, so that they are not tried again.

A file is known by its path, size and time of last change; another file under the same
name is tried. In the folder of a call's results the list survives the call.
"""

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNREADABLE = ".medseg.unreadable"
"""Name of the list: a line of JSON for each file, which names no patient."""


class Remembered:
    """What ended readers, by file, in this process and in a folder."""

    def __init__(self) -> None:
        """Starts with an empty list."""
        self._reasons: dict[str, str] = {}
        self._folder: Path | None = None
        self._guard = threading.Lock()

    @property
    def folder(self) -> Path | None:
        """Where the list is kept; None where it ends with this process."""
        return self._folder

    @contextmanager
    def kept_in(self, folder: Path | None) -> Iterator[None]:
        """Inside the `with` block the list of a folder is known and continued."""
        outer, self._folder = self._folder, folder
        if folder is not None:
            self._reasons |= _read(folder / UNREADABLE)
        try:
            yield
        finally:
            self._folder = outer

    def use(self, folder: Path | None) -> None:
        """Uses the list of a folder for the rest of this process."""
        self._folder = folder
        if folder is not None:
            self._reasons |= _read(folder / UNREADABLE)

    def forget(self, folder: Path) -> None:
        """Removes the list of a folder: everything is tried again."""
        with self._guard:
            self._reasons.clear()
            with suppress(OSError):
                (folder / UNREADABLE).unlink(missing_ok=True)

    def reason(self, files: Iterable[Path]) -> str:
        """Why these files are not read again; empty where they are."""
        if not self._reasons:
            return ""
        reason = self._reasons.get(_key(files), "")
        if reason and self._folder is not None:
            return f"{reason}; delete {UNREADABLE} from the results to try it again"
        return reason

    def add(self, files: Iterable[Path], reason: str) -> None:
        """Remembers files that ended a reader."""
        key = _key(files)
        with self._guard:
            self._reasons[key] = reason
            if self._folder is None:
                return
            line = json.dumps({"file": key, "reason": reason}) + "\n"
            with suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                with (self._folder / UNREADABLE).open("a", encoding="utf-8") as stream:
                    stream.write(line)


REMEMBERED = Remembered()
"""Of this process."""


def _key(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with suppress(OSError, ValueError):
            state = path.stat()
            signature = f"|{state.st_size}|{state.st_mtime_ns}"
            digest.update(bytes(path.absolute()) + signature.encode())
    return digest.hexdigest()[:32]


def _read(path: Path) -> dict[str, str]:
    """Lines of a list; those cut short by a kill are passed over."""
    found = {}
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                found[str(entry["file"])] = str(entry["reason"])
    return found
