"""Received objects as files whose names are hashes, whatever their UIDs hold."""

import hashlib
import hmac
import re
import shutil
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError, MedsegError, OutputError
from medseg.files import hash_file
from medseg.io.identity import Pseudonymizer
from medseg.progress import Progress, Silent
from medseg.reading import read_header
from medseg.serving.pacs.settings import PacsSettings

_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*")
"""DICOM PS3.5, chapter 9: numbers without leading zeros, joined by points."""
_LONGEST_UID = 64
_DIGITS = 32


class RefusedObjectError(InputError):
    """An object that is not taken."""


class FullError(InputError):
    """An object for which there is no room."""


@dataclass
class Study:
    """Objects of one study.

    Attributes:
        name: Its folder's name: a keyed hash of StudyInstanceUID.
        folder: Where its objects lie.
        changed: When the last object came, in seconds of the monotonic clock.
        num_objects: How many there are.
        is_new: Whether something came since it was last handed out.
        attempts: How often segmenting it ended without a result.
    """

    name: str
    folder: Path
    changed: float
    num_objects: int = 0
    is_new: bool = True
    attempts: int = 0


class Inbox:
    """All received studies; safe to use from several threads.

    Args:
        folder: Where objects lie.
        settings: Limits.
        names: Hides UIDs in names of files.
        progress: Told of objects that come again with other content.
    """

    def __init__(
        self,
        folder: Path,
        settings: PacsSettings,
        names: Pseudonymizer,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress or Silent()
        self._studies_folder = folder / "studies"
        self._incoming = folder / "incoming"
        self._settings = settings
        self._key = names.key
        self._guard = threading.Lock()
        shutil.rmtree(self._incoming, ignore_errors=True)
        for place in (self._studies_folder, self._incoming):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        now = time.monotonic()
        self._studies = {
            place.name: Study(place.name, place, now, len(list(place.iterdir())))
            for place in sorted(self._studies_folder.iterdir())
        }
        self._bytes = sum(p.stat().st_size for p in self._studies_folder.glob("*/*"))

    def store(self, content: bytes, *, sop_class: str, sop_instance: str) -> Study:
        """Keeps an object, whole or not at all; one of the same UID is replaced.

        Args:
            content: A DICOM file.
            sop_class: What the sender says that it is.
            sop_instance: UID that the sender gives it.

        Raises:
            RefusedObjectError: Its UIDs are no UIDs or contradict the sender, or its
                header is damaged.
            FullError: A limit would be passed.
            OutputError: It cannot be written.
        """
        for uid in (sop_class, sop_instance):
            require_uid(uid)
        half = self._incoming / uuid.uuid4().hex
        try:
            half.write_bytes(content)
            study_uid = _study_uid(half, sop_class, sop_instance)
            with self._guard:
                return self._keep(half, study_uid, sop_instance, len(content))
        except OSError as error:
            if isinstance(error, MedsegError):
                raise
            raise OutputError(
                f"{self._studies_folder}: cannot be written: {error.strerror}"
            ) from error
        finally:
            with suppress(OSError):
                half.unlink(missing_ok=True)

    def complete(self, now: float) -> list[Study]:
        """Studies that have received nothing for a while, each handed out once.

        Args:
            now: Seconds of the monotonic clock.
        """
        with self._guard:
            ready = [
                study
                for study in self._studies.values()
                if study.is_new and now - study.changed >= self._settings.settle
            ]
            for study in ready:
                study.is_new = False
            return sorted(ready, key=lambda study: study.changed)

    def again(self, study: Study) -> None:
        """Hands a study out once more, after another quiet period."""
        with self._guard:
            study.changed, study.is_new = time.monotonic(), True

    def outdated(self, now: float) -> list[Study]:
        """Studies older than the retention period."""
        limit = self._settings.keep_hours * 3600
        with self._guard:
            return [
                study
                for study in self._studies.values()
                if not study.is_new and now - study.changed > limit
            ]

    def remove(self, study: Study) -> None:
        """Forgets a study and its objects, unless something has just come."""
        with self._guard:
            if study.is_new:
                return
            size = sum(path.stat().st_size for path in study.folder.iterdir())
            shutil.rmtree(study.folder, ignore_errors=True)
            self._studies.pop(study.name, None)
            self._bytes -= size

    def _keep(self, half: Path, study_uid: str, sop_instance: str, size: int) -> Study:
        """Moves a checked object to its study's folder."""
        name = self._hidden(study_uid)
        study = self._studies.get(name)
        if study is None:
            study = Study(name, self._studies_folder / name, time.monotonic())
        path = study.folder / f"{self._hidden(sop_instance)}.dcm"
        before = path.stat().st_size if path.exists() else None
        if before is not None and hash_file(path) != hash_file(half):
            self._progress.warn(
                f"study {name[:12]}: an object came again, under the same UID and with "
                "other content; the later one counts"
            )
        self._require_room(study, size - (before or 0), is_new=before is None)
        study.folder.mkdir(exist_ok=True, mode=0o700)
        half.replace(path)
        self._studies[name] = study
        self._bytes += size - (before or 0)
        study.num_objects += before is None
        study.changed, study.is_new, study.attempts = time.monotonic(), True, 0
        return study

    def _require_room(self, study: Study, size: int, *, is_new: bool) -> None:
        limits = self._settings
        if self._bytes + size > limits.max_total_gb * 1e9:
            raise FullError(f"max_total_gb {limits.max_total_gb:g} is reached")
        if is_new and study.num_objects >= limits.max_study_objects:
            raise FullError(f"max_study_objects {limits.max_study_objects} is reached")
        if shutil.disk_usage(self._studies_folder).free < limits.min_free_gb * 1e9:
            raise FullError(f"less than min_free_gb {limits.min_free_gb:g} is free")

    def _hidden(self, uid: str) -> str:
        """A file name that says nothing and cannot lead anywhere."""
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def require_uid(uid: str) -> None:
    """Raises where a text is not a UID.

    Raises:
        RefusedObjectError: It is none; the text is not repeated, whatever it holds.
    """
    if not is_uid(uid):
        raise RefusedObjectError("a UID is not made of numbers and points")


def is_uid(text: str) -> bool:
    """Whether a text is a UID."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def _study_uid(path: Path, sop_class: str, sop_instance: str) -> str:
    """StudyInstanceUID of a file that is what its sender says.

    Raises:
        RefusedObjectError: It is not, or its header is damaged.
    """
    keywords = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]
    try:
        header, _ = read_header(path, wanted=[*keywords, "SeriesInstanceUID"])
        values = [str(header.get(keyword, "")) for keyword in keywords]
        series = str(header.get("SeriesInstanceUID", ""))
    except (InputError, ValueError) as error:
        raise RefusedObjectError("its header is damaged") from error
    for uid in (*values, series):
        require_uid(uid)
    if values[:2] != [sop_class, sop_instance]:
        raise RefusedObjectError("its UIDs are not those that the sender gives")
    return values[2]
