"""Uploads the offline queue to the tracking store, in a thread, as often as it takes.

Nobody waits longer for a store than a deadline: a server that never ends its answers
would otherwise hold a training up, since no time limit of a single read meets it.
"""

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.progress import Progress
from medseg.tracking.address import database_file, scrubbed, without_credentials
from medseg.tracking.delivery import deliver, is_permanent, next_group
from medseg.tracking.offline_queue import Entry, OfflineQueue
from medseg.tracking.store import connect, ensure_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_SECONDS = 3.0
"""Time between two deliveries while the store answers."""

RETRY_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Waits after one failure, two, and so on; the last one repeats."""

ENTRIES_PER_ROUND = 2000

DEADLINE = 10.0
"""Seconds for finding the run or for one delivery, beyond which nobody waits."""

_GLANCE = 0.05
"""Seconds between two checks of the clock while somebody waits."""

SLOWEST_UPLOAD = 100_000
"""Bytes per second that are waited for while a file is sent."""


class Uploader:
    """Sends what the queue holds; whatever fails is sent again later.

    Args:
        queue: What to send.
        tracking_uri: The store.
        progress: Told when the store goes away and when it is back.
        deadline: Seconds that a server may take for one answer; an SQLite file
            may take as long as it wants.
    """

    def __init__(
        self,
        queue: OfflineQueue,
        *,
        tracking_uri: str,
        progress: Progress,
        deadline: float = DEADLINE,
    ) -> None:
        self._queue = queue
        self._uri = tracking_uri
        self._progress = progress
        self._client: MlflowClient | None = None
        self._found = False
        self._failures = 0
        self._told = False
        """Whether the user knows that the store is away."""
        self._refused: set[str] = set()
        self._deadline = math.inf if database_file(tracking_uri) else deadline
        self._due = math.inf
        """When, on the monotonic clock, what is under way has taken too long."""
        self._wake, self._first_round, self._ended = (
            threading.Event() for _ in range(3)
        )
        self._closing = self._given_up = False
        self._striking_out = threading.Lock()
        self._thread = threading.Thread(
            target=self._work, name="medseg-tracking", daemon=True
        )

    def start(self) -> None:
        """Sends from now on, in the background; returns after the first attempt."""
        self._thread.start()
        if not self._waited_for(self._first_round):
            self._warn_away(f"no answer within {self._deadline:g} s")

    def close(self) -> None:
        """Sends what is left, and stops; one more try where the store is away."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None and not self._waited_for(self._ended):
            with self._striking_out:  # an answer that comes now comes too late
                self._given_up = True
            self._warn_away(f"no answer within {self._deadline:g} s")

    def _waited_for(self, event: threading.Event) -> bool:
        """Whether something came about before what is under way took too long."""
        while not event.wait(_GLANCE):
            if time.monotonic() > self._due:
                return False
        return True

    def _warn_away(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._progress.warn(
                f"tracking: {without_credentials(self._uri)} cannot be reached "
                f"({reason}); the run goes on, and what is to be tracked waits in its "
                "folder"
            )

    def send(self) -> bool:
        """Sends all that waits; says whether it arrived. Never raises an error."""
        try:
            self._send()
        except Exception as error:  # noqa: BLE001  # tracking must not end a training
            self._failures += 1
            self._warn_away(_first_line(error, self._uri))
            return False
        finally:
            self._due = math.inf
        self._failures = 0
        if self._told and not self._given_up:
            self._told = False
            self._progress.say("tracking: the store answers again, all caught up")
        return True

    def _send(self) -> None:
        if self._client is None:
            self._client = connect(self._uri)
        self._due = time.monotonic() + self._deadline
        if not self._found:
            state = self._queue.state
            run_id = ensure_run(self._client, state, tracking_uri=self._uri)
            self._found = True
            if run_id != state.run_id:
                self._queue.update(run_id=run_id, model_id=None)
        while group := next_group(self._queue.waiting(ENTRIES_PER_ROUND)):
            self._deliver(self._client, group)
            with self._striking_out:
                if self._given_up:
                    return
                self._queue.arrived(group)

    def _deliver(self, client: "MlflowClient", group: list[Entry]) -> None:
        state = self._queue.state
        assert state.run_id is not None
        file = self._queue.file_of(group[0])
        seconds = self._deadline + _size(file) / SLOWEST_UPLOAD
        self._due = time.monotonic() + seconds
        try:
            model_id = deliver(
                client, state.run_id, group, file=file, model_id=state.model_id
            )
        except Exception as error:
            if not is_permanent(error):
                raise
            reason = _first_line(error, self._uri)
            self._queue.refuse(group, reason)
            if (kind := group[0]["kind"]) not in self._refused:
                self._refused.add(kind)
                self._progress.warn(f"tracking: {kind} not taken: {reason}")
        else:
            if model_id != state.model_id:
                self._queue.update(model_id=model_id)

    def _work(self) -> None:
        while not self._closing:
            self.send()
            self._first_round.set()
            failed = min(self._failures, len(RETRY_SECONDS))
            pause = RETRY_SECONDS[failed - 1] if failed else FLUSH_SECONDS
            self._wake.wait(pause)
        self.send()
        self._first_round.set()
        self._ended.set()


def _size(file: Path | None) -> int:
    """Bytes of a file, or of all files of a folder."""
    if file is None or not file.exists():
        return 0
    files = file.rglob("*") if file.is_dir() else [file]
    return sum(path.stat().st_size for path in files if path.is_file())


def _first_line(error: Exception, tracking_uri: str) -> str:
    """What went wrong, short, and without credentials that a URL may carry."""
    line = scrubbed((str(error).splitlines() or [""])[0], tracking_uri)
    words = [without_credentials(w) if "://" in w else w for w in line.split()]
    return " ".join(words)[:500] or type(error).__name__
