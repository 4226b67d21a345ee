"""Carries the journal to the store from a thread of its own, as often as it takes."""

import threading
from typing import TYPE_CHECKING

from medseg.progress import Progress
from medseg.tracking.address import without_credentials
from medseg.tracking.journal import Entry, Journal
from medseg.tracking.store import (
    connect,
    deliver,
    ensure_run,
    is_permanent,
    next_group,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_SECONDS = 3.0
"""Time between two deliveries while the store answers."""

RETRY_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Waits after one failure, two, and so on; the last one repeats."""

ENTRIES_PER_ROUND = 2000


class Courier:
    """Sends what a journal holds; whatever fails is sent again later."""

    def __init__(
        self, journal: Journal, *, tracking_uri: str, progress: Progress
    ) -> None:
        """Starts nothing.

        Args:
            journal: What to send.
            tracking_uri: The store.
            progress: Told when the store goes away and when it is back.
        """
        self._journal = journal
        self._uri = tracking_uri
        self._progress = progress
        self._client: MlflowClient | None = None
        self._found = False
        self._failures = 0
        self._refused: set[str] = set()
        self._one_at_a_time = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(
            target=self._work, name="medseg-tracking", daemon=True
        )

    def start(self) -> None:
        """Sends from now on, in the background."""
        self._thread.start()

    def close(self) -> None:
        """Sends what is left, and stops; one more try where the store is away."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def send(self) -> bool:
        """Sends all that waits; says whether it arrived. Never raises an error."""
        try:
            with self._one_at_a_time:
                self._send()
        except Exception as error:  # noqa: BLE001  # tracking must not end a training
            self._failures += 1
            if self._failures == 1:
                self._progress.warn(
                    f"tracking: {without_credentials(self._uri)} cannot be reached "
                    f"({_first_line(error)}); the run goes on, and what is to be "
                    "tracked waits in its folder"
                )
            return False
        if self._failures:
            self._progress.say("tracking: the store answers again, all caught up")
            self._failures = 0
        return True

    def _send(self) -> None:
        if self._client is None:
            self._client = connect(self._uri)
        if not self._found:
            state = self._journal.state
            run_id = ensure_run(self._client, state, tracking_uri=self._uri)
            self._found = True
            if run_id != state.run_id:
                self._journal.update(run_id=run_id)
        while group := next_group(self._journal.waiting(ENTRIES_PER_ROUND)):
            self._deliver(self._client, group)
            self._journal.arrived(group)

    def _deliver(self, client: "MlflowClient", group: list[Entry]) -> None:
        run_id = self._journal.state.run_id
        assert run_id is not None
        file = None
        if group[0]["kind"] == "artifact":
            file = self._journal.file_of(group[0])
        try:
            deliver(client, run_id, group, file=file)
        except Exception as error:
            if not is_permanent(error):
                raise
            self._journal.refuse(group, _first_line(error))
            if (kind := group[0]["kind"]) not in self._refused:
                self._refused.add(kind)
                self._progress.warn(f"tracking: {kind} not taken: {_first_line(error)}")

    def _work(self) -> None:
        while not self._closing:
            self.send()
            failed = min(self._failures, len(RETRY_SECONDS))
            pause = RETRY_SECONDS[failed - 1] if failed else FLUSH_SECONDS
            self._wake.wait(pause)
        self.send()


def _first_line(error: Exception) -> str:
    """What went wrong, short, and without credentials that a URL may carry."""
    line = (str(error).splitlines() or [""])[0]
    words = [without_credentials(w) if "://" in w else w for w in line.split()]
    return " ".join(words)[:300] or type(error).__name__
