"""Studies of a DICOMweb archive, fetched into the inbox when they are complete."""

import json
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from medseg.errors import InputError, OutputError
from medseg.files import write_text
from medseg.io.identity import Pseudonymizer
from medseg.progress import Progress
from medseg.serving.pacs.dicomweb import WebArchive, WebStudy
from medseg.serving.pacs.inbox import FullError, Inbox, RefusedObjectError
from medseg.serving.pacs.settings import PacsSettings

FETCHED = "fetched.json"

_MOST_TROUBLES = 3
"""Studies that fail in one round, after which the archive itself is at fault."""
_GLANCE = 0.5
_LAST_SECONDS = 5.0


class Fetcher:
    """Asks an archive for studies that were not fetched yet.

    A study is complete when the archive lists as many objects of it as `settle`
    seconds before. One with a segmentation is left alone, lest results come round
    again. What was fetched is kept in a file, by keyed hashes.
    """

    def __init__(
        self,
        folder: Path,
        inbox: Inbox,
        settings: PacsSettings,
        names: Pseudonymizer,
        progress: Progress,
    ) -> None:
        """Makes no connection yet.

        Raises:
            InputError: The file with the token cannot be read.
        """
        assert settings.fetch_from is not None
        self._archive = WebArchive(settings.fetch_from, settings)
        self._inbox, self._settings = inbox, settings
        self._names, self._progress = names, progress
        self._path = folder / FETCHED
        self._fetched = _read(self._path)
        self._seen: dict[str, tuple[int, float]] = {}
        """Objects of a study, and since when it has so many."""
        self._next = 0.0
        self._troubles: set[str] = set()
        self._stop = Event()
        self._thread = Thread(target=self._work, name="medseg-fetcher", daemon=True)

    def start(self) -> None:
        """Starts polling the archive in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stops polling; a request under way is aborted."""
        self._stop.set()
        self._archive.abort()
        if self._thread.ident is not None:
            self._thread.join(_LAST_SECONDS)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll(time.monotonic())
            except OutputError as error:
                self._progress.warn(f"{error}; trying again")
            self._stop.wait(min(_GLANCE, self._settings.poll))

    def poll(self, now: float) -> None:
        """Fetches what is complete, where it is time to ask again.

        Args:
            now: Seconds of the monotonic clock.

        Raises:
            OutputError: The inbox cannot be written.
        """
        if now < self._next:
            return
        self._next = now + self._settings.poll
        troubles: list[str] = []
        try:
            listing = self._archive.studies(self._settings.query)
        except InputError as error:
            self._say_once({str(error)})
            return
        if listing.num_odd:
            troubles.append(f"{listing.num_odd} studies have UIDs that are none; left")
        for study in listing.studies:
            if self._stop.is_set() or len(troubles) > _MOST_TROUBLES:
                break
            try:
                self._consider(study, now)
            except InputError as error:
                name = self._names.name(study.uid)[:12]
                troubles.append(f"study {name}: {error}")
        self._say_once(set(troubles))

    def _say_once(self, troubles: set[str]) -> None:
        """Warns of what was not wrong the last time already."""
        for trouble in sorted(troubles - self._troubles):
            self._progress.warn(f"{trouble}; trying again")
        self._troubles = troubles

    def _consider(self, study: WebStudy, now: float) -> None:
        name = self._names.name(study.uid)
        if self._fetched.get(name) == study.num_objects:
            return
        count, since = self._seen.get(name, (-1, now))
        if count != study.num_objects:
            self._seen[name] = (study.num_objects, now)
            since = now
        if now - since < self._settings.settle:
            return
        if self._archive.has_segmentation(study):
            self._settle(name, study)
            return
        if study.num_objects > self._settings.max_study_objects:
            self._progress.warn(f"study {name}: more than max_study_objects; left")
            self._settle(name, study)
            return
        self._progress.say(f"study {name}: fetching {study.num_objects} objects")
        self._fetch(study, name)

    def _fetch(self, study: WebStudy, name: str) -> None:
        refused = 0
        for item in self._archive.objects(study):
            try:
                self._inbox.store(
                    item.content,
                    sop_class=item.sop_class,
                    sop_instance=item.sop_instance,
                )
            except FullError as error:
                raise InputError(f"the inbox is full: {error}") from error
            except RefusedObjectError:
                refused += 1
        if refused:
            self._progress.warn(f"study {name}: {refused} damaged objects left out")
        self._settle(name, study)

    def _settle(self, name: str, study: WebStudy) -> None:
        self._seen.pop(name, None)
        self._fetched[name] = study.num_objects
        write_text(self._path, json.dumps(self._fetched))


def _read(path: Path) -> dict[str, int]:
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): int(count) for name, count in found.items()}
    return {}
