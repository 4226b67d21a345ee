"""A broken SQLite file replaced, where the user agrees: nothing of it is deleted."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from medseg.errors import TrackingError
from medseg.progress import Progress
from medseg.tracking.address import database_file
from medseg.tracking.database import set_aside
from medseg.tracking.offline_queue import FOLDER, STATE
from medseg.tracking.run import replay_queue
from medseg.tracking.store import connect
from medseg.tracking.ui import find_store

LOCK = ".medseg.lock"
"""What a run that is under way holds in its folder."""


def replace_broken(place: str | Path, *, progress: Progress) -> None:
    """Puts a new store in the place of a broken one, and sends what waits of runs.

    A store that can be used is left alone. Runs that are under way send by themselves.

    Args:
        place: A folder of runs, a run, or a database file.
        progress: Told where the broken file lies now, and what was sent.

    Raises:
        MissingFileError: No store is there.
        OutputError: The new one cannot be made.
    """
    uri = find_store(place)
    database = database_file(uri)
    try:
        connect(uri)
    except TrackingError:
        assert database is not None  # servers are never found broken
        aside = set_aside(database, tracking_uri=uri)
        connect(uri)
        progress.say(f"{database}: new; the broken one is {aside.name}")
    if database is not None:
        for run in _at_rest(database.parent):
            left = replay_queue(run, tracking_uri=uri, progress=progress)
            if left:
                progress.warn(f"{run}: {left} entries still wait")


def _at_rest(runs: Path) -> Iterator[Path]:
    """Folders of tracked runs that no process works on."""
    for state in sorted(runs.rglob(f"{FOLDER}/{STATE}")):
        run = state.parent.parent
        with suppress(Timeout, OSError), FileLock(run / LOCK, timeout=0):
            yield run
