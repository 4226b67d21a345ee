"""Queue of tracking entries on disk, so that none is lost while a server is away.

A run's ``tracking`` folder holds ``state.json``, which names the run and how much of
it has arrived, and ``journal.jsonl`` with what has not. The queue is emptied
whenever everything arrived. What the server refused for good stands, with the
reason, in ``refused.jsonl``.
"""

import json
import shutil
import threading
import time
import uuid
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medseg.errors import MissingFileError
from medseg.files import write_text

Entry = dict[str, Any]
"""One thing to track: ``n`` counts up, ``kind`` names what the other keys mean."""

FOLDER = "tracking"
STATE = "state.json"
JOURNAL = "journal.jsonl"
REFUSED = "refused.jsonl"
COPIES = "files"


@dataclass(frozen=True)
class RunState:
    """Which tracked run a folder belongs to, known before any server answered."""

    token: str
    """Random; a tag of the run, so that a run is never created twice."""
    tracking_uri: str
    """The store, without credentials."""
    experiment: str
    run_name: str
    started_ms: int
    """Start of the run, in milliseconds since 1970."""
    parent_run_id: str | None = None
    parent_folder: str | None = None
    """Folder of the parent run, whose id may not be known yet."""
    run_id: str | None = None
    """The run's id in the store, once the store gave one."""
    model_id: str | None = None
    """The model that was kept last, once the store gave it an id."""
    arrived: int = 0
    """Number of the last entry that arrived."""


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def read_state(folder: Path) -> RunState | None:
    """The tracked run that a run's folder belongs to, if any."""
    path = folder / FOLDER / STATE
    if not path.exists():
        return None
    return RunState(**json.loads(path.read_text(encoding="utf-8")))


class OfflineQueue:
    """Entries in the order they happened, kept until each has arrived.

    Safe to append to from one thread while another sends.
    """

    def __init__(self, folder: Path, state: RunState) -> None:
        """Opens the journal of a run's folder and keeps the state there."""
        self.root = folder.resolve()
        self._folder = self.root / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / JOURNAL
        self._lock = threading.Lock()
        self.state = state
        entries = self._read()
        self._last = max([state.arrived, *(entry["n"] for entry in entries)])
        self._waiting = deque(e for e in entries if e["n"] > state.arrived)
        self.update()

    def update(self, **changes: Any) -> None:
        """Keeps changes of the state."""
        self.state = replace(self.state, **changes)
        text = json.dumps(asdict(self.state), indent=1)
        write_text(self._folder / STATE, text + "\n")

    def append(self, kind: str, **values: Any) -> None:
        """Adds an entry at the end, on disk too."""
        with self._lock:
            self._last += 1
            entry = {"n": self._last, "kind": kind, **values}
            self._waiting.append(entry)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")

    def append_file(self, path: Path, *, kind: str = "artifact", **values: Any) -> None:
        """Adds a file or folder; what lies outside the run's folder is copied in.

        Args:
            path: The file or folder.
            kind: What it is to become.
            values: What else the entry holds.

        Raises:
            MissingFileError: There is no such file or folder.
        """
        path = path.resolve()
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder")
        if not path.is_relative_to(self.root):
            copy = self._folder / COPIES / uuid.uuid4().hex[:8] / path.name
            copy.parent.mkdir(parents=True)
            if path.is_dir():
                shutil.copytree(path, copy)
            else:
                shutil.copy2(path, copy)
            path = copy
        relative = path.relative_to(self.root).as_posix()
        self.append(kind, path=relative, **values)

    def file_of(self, entry: Entry) -> Path | None:
        """Where the file of an entry lies now; none where it has no file."""
        return self.root / str(entry["path"]) if "path" in entry else None

    def waiting(self, limit: int) -> list[Entry]:
        """The first entries that have not arrived, at most `limit` of them."""
        with self._lock:
            return [self._waiting[n] for n in range(min(limit, len(self._waiting)))]

    def __len__(self) -> int:
        """Number of entries that have not arrived."""
        return len(self._waiting)

    def arrived(self, entries: list[Entry]) -> None:
        """Strikes out the first entries, which arrived or were refused for good."""
        with self._lock:
            for entry in entries:
                first = self._waiting.popleft()
                assert first is entry
            if not self._waiting:
                self._path.write_text("", encoding="utf-8")
        self.update(arrived=entries[-1]["n"])
        for entry in entries:
            file = self.file_of(entry)
            if file is not None and COPIES in Path(entry["path"]).parts[:2]:
                shutil.rmtree(file.parent, ignore_errors=True)

    def refuse(self, entries: list[Entry], reason: str) -> None:
        """Puts entries that the store will never take aside, with the reason."""
        with (self._folder / REFUSED).open("a", encoding="utf-8") as stream:
            for entry in entries:
                stream.write(json.dumps({**entry, "reason": reason}) + "\n")

    def _read(self) -> list[Entry]:
        """Entries on disk; a last line that a kill cut short is dropped."""
        if not self._path.exists():
            return []
        text = self._path.read_text(encoding="utf-8")
        whole, _, torn = text.rpartition("\n")
        if torn:
            write_text(self._path, f"{whole}\n" if whole else "")
        return [json.loads(line) for line in whole.splitlines()]
