"""The node's loop: what is complete is segmented, what was made is sent."""

import json
import shutil
import time
from pathlib import Path

from medseg.errors import OutputError, PredictionError
from medseg.files import hash_file, write_text
from medseg.folder_lock import lock_folder
from medseg.io.identity import Pseudonymizer
from medseg.plain_text import one_line
from medseg.prediction.dicom_results import REPORT, SEGMENTATION
from medseg.prediction.ensemble import find_models
from medseg.prediction.predict import pseudonyms
from medseg.prediction.shutdown import Stop, stop_on_signals
from medseg.progress import Progress, Silent
from medseg.serving.pacs.dicomweb import RefusedResultError
from medseg.serving.pacs.fetcher import Fetcher
from medseg.serving.pacs.inbox import Inbox, Study
from medseg.serving.pacs.receiver import Receiver
from medseg.serving.pacs.sender import send
from medseg.serving.pacs.settings import PacsSettings
from medseg.serving.pacs.worker import StudyResult, Worker, WorkerOptions

SENT = "sent.json"
_MOST_ATTEMPTS = 2
_LONGEST_PAUSE = 600.0
_POLL = 0.5


def serve(
    folder: Path,
    options: WorkerOptions,
    settings: PacsSettings,
    *,
    progress: Progress | None = None,
) -> bool:
    """Runs the node until Ctrl-C or SIGTERM.

    Args:
        folder: Where objects and results lie for a while; nothing is written outside.
        options: The model and how to use it.
        settings: Who may send what, and where results go.
        progress: Shows progress.

    Returns:
        Whether it was Ctrl-C that ended it.

    Raises:
        MissingFileError: There is no model.
        PredictionError: The model cannot be loaded.
        SettingsError: It cannot listen there.
        OutputError: The folder is another's, or cannot be written.
    """
    shown = progress or Silent()
    if not options.model.exists() and "," not in str(options.model):
        find_models(options.model)  # refused before anything is made
    names = pseudonyms(options.key_path, progress=shown)
    with lock_folder(folder), stop_on_signals(shown) as stop:
        node = Node(folder, options, settings, names, shown)
        try:
            node.start()
            node.run(stop)
        finally:
            node.close()
    return stop.interrupted


class Node:
    """Receiver, inbox, worker and sender together."""

    def __init__(
        self,
        folder: Path,
        options: WorkerOptions,
        settings: PacsSettings,
        names: Pseudonymizer,
        progress: Progress,
    ) -> None:
        """Does not listen yet."""
        self._results = _private(folder / "results")
        self._settings = settings
        self._progress = progress
        self._inbox = Inbox(folder / "inbox", settings, names, progress)
        self._receiver = Receiver(self._inbox, settings, progress)
        self._fetcher = None
        if settings.fetch_from is not None:
            self._fetcher = Fetcher(folder, self._inbox, settings, names, progress)
        self._worker = Worker(options, time_limit=settings.time_limit)
        self._unsent: set[str] = set()
        self._without_room: set[str] = set()
        """Studies whose results could not be written."""
        self._pause, self._next_try = 1.0, 0.0

    @property
    def port(self) -> int:
        """The TCP port it listens at."""
        return self._receiver.port

    def start(self) -> None:
        """Loads the model and begins to listen.

        Raises:
            PredictionError: The model cannot be loaded.
            SettingsError: It cannot listen.
        """
        self._worker.check()
        if self._fetcher is not None:
            self._progress.say(f"asking {self._settings.fetch_from}; Ctrl-C ends")
            self._fetcher.start()
        if self._settings.allow:
            self._receiver.start()
            where = f"{self._settings.host}:{self.port}"
            title = self._settings.ae_title
            self._progress.say(f"{title} listens at {where}; Ctrl-C ends")

    def close(self) -> None:
        """Listens no more, and ends the process that segments."""
        if self._fetcher is not None:
            self._fetcher.stop()
        self._receiver.stop()
        self._worker.stop()

    def run(self, stop: Stop) -> None:
        """Checks the inbox, segments, sends, cleans up, until an end is asked for."""
        while not stop:
            for study in self._inbox.complete(time.monotonic()):
                self._segment(study)
                if stop:
                    return
            self._send_what_is_left()
            for study in self._inbox.outdated(time.monotonic()):
                if study.name not in self._unsent:
                    self._inbox.remove(study)
                    shutil.rmtree(self._results / study.name, ignore_errors=True)
            stop.wait(min(_POLL, self._settings.settle))

    def _segment(self, study: Study) -> None:
        short = study.name[:12]
        self._progress.say(f"study {short}: {study.num_objects} objects, segmenting")
        out = self._results / study.name
        try:
            lines = self._worker.segment(study.folder, out)
        except OutputError as error:
            self._inbox.again(study)
            if study.name not in self._without_room:
                self._without_room.add(study.name)
                self._progress.warn(f"study {short}: {error}; kept, and tried again")
            return
        except PredictionError as error:
            study.attempts += 1
            if study.attempts < _MOST_ATTEMPTS:
                self._inbox.again(study)
            self._progress.warn(f"study {short}: {one_line(str(error))}")
            return
        self._without_room.discard(study.name)
        for line in lines:
            self._report(short, line)
        if self._settings.send_to is not None:
            self._unsent.add(study.name)
            self._next_try = 0.0

    def _report(self, short: str, line: StudyResult) -> None:
        if line.status == "failed":
            self._progress.warn(f"study {short}: {line.scan}: failed: {line.reason}")
        else:
            reason = f": {line.reason}" if line.reason else ""
            self._progress.say(f"study {short}: {line.scan}: {line.status}{reason}")
        rest = ", ".join(line.outputs) or "nothing"
        for missing in line.missing:
            self._progress.warn(
                f"study {short}: {line.scan}: {missing}; not sent, there is {rest}"
            )

    def _send_what_is_left(self) -> None:
        """Sends results that are not sent; after a failure with a growing pause."""
        if not self._unsent or time.monotonic() < self._next_try:
            return
        has_failed = False
        for name in sorted(self._unsent):
            try:
                self._send(name)
            except OutputError as error:
                has_failed = True
                self._progress.warn(
                    f"study {name[:12]}: {error}; trying again in {self._pause:g} s"
                )
                if not isinstance(error, RefusedResultError):
                    break  # nobody is there to take the others
            else:
                self._unsent.discard(name)
        if has_failed:
            self._next_try = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE) if has_failed else 1.0

    def _send(self, name: str) -> None:
        """Sends a study's segmentations, each once, then its reports.

        A destination that takes segmentations and no reports is told of none again.
        One that refuses a segmentation gets the others nevertheless.

        Raises:
            OutputError: One could not be sent.
        """
        folder = self._results / name
        done = _sent(folder)
        refusal: RefusedResultError | None = None
        reports = sorted(folder.glob(f"*{REPORT}"))
        for path in [*sorted(folder.glob(f"*{SEGMENTATION}")), *reports]:
            content = hash_file(path)
            if done.get(path.name) == content:
                continue
            said = f"study {name[:12]}: {path.name} sent to {self._settings.send_to}"
            try:
                send(path, self._settings)
            except RefusedResultError as error:
                if path not in reports:
                    refusal = refusal or error
                    continue
                said = f"study {name[:12]}: {error}; it stays in {folder.name}"
            done[path.name] = content
            write_text(folder / SENT, json.dumps(done))
            self._progress.say(said)
        if refusal is not None:
            raise refusal


def _private(folder: Path) -> Path:
    """A folder that only the node's own user may enter, made where it is missing.

    Raises:
        OutputError: It cannot be made so.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    return folder


def _sent(folder: Path) -> dict[str, str]:
    """What was sent before: names and hashes of files."""
    try:
        found = json.loads((folder / SENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
