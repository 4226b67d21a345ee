"""An archive with DICOMweb: QIDO finds studies, WADO fetches, STOW files results."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from medseg.errors import InputError, OutputError
from medseg.io.dicom.elements import quiet
from medseg.io.dicom.label_objects.object_headers import RESEARCH_USE
from medseg.serving.pacs.inbox import is_uid
from medseg.serving.pacs.settings import PacsSettings, WebAddress

STUDY, SERIES, MODALITY = "0020000D", "0020000E", "00080060"
DESCRIPTION = "0008103E"
"""Tags, as DICOM's JSON writes them."""

_PAGE = 100
_CHUNK = 1 << 20
_NO_IMAGES = {"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "DOC", "REG"}


class RefusedResultError(OutputError):
    """The destination was reached and does not take an object."""


@dataclass(frozen=True)
class WebStudy:
    """A study as the archive lists it.

    Attributes:
        uid: StudyInstanceUID.
        num_objects: How many objects it holds, as far as the archive says.
    """

    uid: str
    num_objects: int


@dataclass(frozen=True)
class WebObject:
    """One object: the bytes of a DICOM file, and its two UIDs."""

    content: bytes
    sop_class: str
    sop_instance: str


@dataclass(frozen=True)
class _WebSeries:
    """A series as the archive lists it; what it leaves out is empty."""

    uid: str
    modality: str
    description: str


@dataclass(frozen=True)
class WebListing:
    """What an archive lists.

    Attributes:
        studies: Those that can be asked for.
        num_odd: How many others there are, whose UID is none.
    """

    studies: list[WebStudy]
    num_odd: int


class WebArchive:
    """A DICOMweb server that the user named; nobody else is called."""

    def __init__(self, address: WebAddress, settings: PacsSettings) -> None:
        """Makes no connection yet.

        Raises:
            InputError: The file with the token cannot be read.
        """
        from dicomweb_client.api import DICOMwebClient

        self._address = address
        self._session = _session(settings)
        self._client = DICOMwebClient(
            address.url.rstrip("/"),
            session=self._session,
            timeout=settings.timeout,
            chunk_size=_CHUNK,
        )
        self._client.set_http_retry_params(retry=False)

    def abort(self) -> None:
        """Ends a request that another thread waits for."""
        self._session.abort()

    def studies(self, query: dict[str, str]) -> WebListing:
        """All studies that meet a query, such as ``{"ModalitiesInStudy": "CT"}``.

        Raises:
            InputError: The archive cannot be reached or does not answer as it should.
        """
        found: dict[str, WebStudy | None] = {}
        with self._explained("does not list its studies"):
            while True:
                page = self._client.search_for_studies(
                    search_filters=query,
                    fields=["NumberOfStudyRelatedInstances"],
                    limit=_PAGE,
                    offset=len(found),
                )
                before = len(found)
                found |= {_value(item, STUDY): _study(item) for item in page}
                if len(page) < _PAGE or len(found) == before:
                    break
        studies = [study for study in found.values() if study is not None]
        return WebListing(studies, len(found) - len(studies))

    def has_segmentation(self, study: WebStudy) -> bool:
        """Whether a study holds a segmentation already, or a report of medseg.

        Raises:
            InputError: The archive cannot be reached or does not answer as it should.
        """
        with self._explained("does not list the series of a study"):
            return any(
                series.modality == "SEG"
                or (series.modality == "SR" and RESEARCH_USE in series.description)
                for series in self._series(study)
            )

    def objects(self, study: WebStudy) -> Iterator[WebObject]:
        """The images of a study, one by one, pixels as they are stored.

        Raises:
            InputError: The archive cannot be reached, does not answer as it should,
                or sends an object above the limit.
        """
        import pydicom

        with self._explained("does not send a study"), quiet():
            for series in self._series(study):
                if series.modality in _NO_IMAGES:
                    continue
                self._session.start_anew()
                kinds = (("application/dicom", "*"),)
                for dataset in self._client.iter_series(study.uid, series.uid, kinds):
                    self._session.start_anew()
                    buffer = BytesIO()
                    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
                    yield WebObject(
                        buffer.getvalue(),
                        str(dataset.get("SOPClassUID", "")),
                        str(dataset.get("SOPInstanceUID", "")),
                    )

    def store(self, path: Path) -> None:
        """Files an object.

        Raises:
            RefusedResultError: The archive does not take it.
            OutputError: It cannot be reached.
        """
        import pydicom

        try:
            with self._explained(f"does not take {path.name}"), quiet():
                answer = self._client.store_instances([pydicom.dcmread(path)])
                failed = answer.get("FailedSOPSequence") or []
        except InputError as error:
            raise OutputError(str(error)) from error
        if failed:
            reason = int(failed[0].get("FailureReason", 0))
            raise RefusedResultError(
                f"{path.name}: {self._address} refuses it with reason 0x{reason:04X}"
            )

    def _series(self, study: WebStudy) -> list["_WebSeries"]:
        """The series of a study, but those with an odd UID."""
        fields = ["Modality", "SeriesDescription"]
        found = self._client.search_for_series(study.uid, fields=fields)
        series = [
            _WebSeries(*(_value(item, tag) for tag in (SERIES, MODALITY, DESCRIPTION)))
            for item in found
        ]
        return [one for one in series if is_uid(one.uid)]

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turns whatever goes wrong into one line without UIDs.

        Raises:
            InputError: Something did.
        """
        import requests

        try:
            yield
        except InputError:
            raise
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "?"
            raise InputError(f"{self._address} {what}: HTTP {status}") from error
        except (requests.RequestException, OSError) as error:
            reason = type(error).__name__
            raise InputError(f"{self._address} {what}: {reason}") from error
        except Exception as error:  # whatever parsing an answer stumbles on
            raise InputError(
                f"{self._address} {what}: its answer makes no sense "
                f"({type(error).__name__})"
            ) from error


def _session(settings: PacsSettings) -> Any:
    """A session in bounds, with the user's token and certificates.

    Raises:
        InputError: The file with the token cannot be read.
    """
    from medseg.serving.pacs.web_session import BoundedSession

    most_bytes = int(settings.max_object_mb * 1e6) + 2 * _CHUNK
    session = BoundedSession(timeout=settings.timeout, most_bytes=most_bytes)
    if settings.tls_ca is not None:
        session.verify = str(settings.tls_ca)
    if settings.tls_cert is not None and settings.tls_key is not None:
        session.cert = (str(settings.tls_cert), str(settings.tls_key))
    if settings.web_token is not None:
        try:
            token = settings.web_token.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{settings.web_token}: cannot be read") from error
        session.headers["Authorization"] = f"Bearer {token}"
    return session


def _study(item: dict[str, Any]) -> WebStudy | None:
    """A listed study; None where its UID is none, which must not go into an address."""
    uid = _value(item, STUDY)
    if not is_uid(uid):
        return None
    count = _value(item, "00201208")
    return WebStudy(uid, int(count) if count.isdigit() else 0)


def _value(item: dict[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])
