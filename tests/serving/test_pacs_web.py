"""The node and a DICOMweb archive: found, fetched, segmented, filed."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from predict_phantoms import DICOM_TAGS, SECRETS, planted_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from medseg.errors import InputError, OutputError, SettingsError
from medseg.io.identity import Pseudonymizer
from medseg.prediction.shutdown import Stop
from medseg.progress import Silent
from medseg.serving.pacs.dicomweb import WebArchive, WebStudy
from medseg.serving.pacs.fetcher import FETCHED, Fetcher
from medseg.serving.pacs.inbox import Inbox
from medseg.serving.pacs.sender import send
from medseg.serving.pacs.service import Node
from medseg.serving.pacs.settings import (
    Address,
    PacsSettings,
    WebAddress,
    parse_address,
    parse_query,
)
from medseg.serving.pacs.worker import WorkerOptions
from medseg.settings import parse_settings

pytest.importorskip("dicomweb_client")
NAMES = Pseudonymizer(b"k" * 32)


class Lines(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(message)


class Archive:
    """What a small DICOMweb server holds, and what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        self.status = 200
        self.refuses = False
        self.url = ""

    def add(self, content: bytes) -> None:
        self.objects[str(dcmread(BytesIO(content)).SOPInstanceUID)] = content

    def listed(self, wanted: dict[str, str]) -> list[Dataset]:
        found = (dcmread(BytesIO(content)) for content in self.objects.values())
        return [d for d in found if all(d[k].value == v for k, v in wanted.items())]


def handler_of(archive: Archive) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def answer(self, content: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            archive.requests.append(self.path)
            archive.tokens.add(self.headers.get("Authorization"))
            if archive.status != 200:
                return self.answer(b"no", "text/plain", archive.status)
            path = self.path.partition("?")[0]
            study = re.fullmatch(r"/w/studies/([\d.]+)/series(?:/([\d.]+))?", path)
            if study is None:
                uids = {d.StudyInstanceUID for d in archive.listed({})}
                return self.listing([self.study(uid) for uid in sorted(uids)])
            wanted = {"StudyInstanceUID": study[1]}
            if study[2] is None:
                series = {
                    (d.SeriesInstanceUID, d.Modality, d.get("SeriesDescription", ""))
                    for d in archive.listed(wanted)
                }
                tags = ("0020000E", "00080060", "0008103E")
                return self.listing(
                    [dict(zip(tags, one, strict=True)) for one in series]
                )
            wanted["SeriesInstanceUID"] = study[2]
            head = b"--xyz\r\nContent-Type: application/dicom\r\n\r\n"
            parts = [
                head + archive.objects[d.SOPInstanceUID] + b"\r\n"
                for d in archive.listed(wanted)
            ]
            kind = 'multipart/related; type="application/dicom"; boundary=xyz'
            return self.answer(b"".join(parts) + b"--xyz--", kind)

        def study(self, uid: str) -> dict[str, Any]:
            count = len(archive.listed({"StudyInstanceUID": uid}))
            return {"0020000D": uid, "00201208": count}

        def listing(self, items: list[dict[str, Any]]) -> None:
            tagged = [
                {tag: {"vr": "UI", "Value": [value]} for tag, value in item.items()}
                for item in items
            ]
            self.answer(json.dumps(tagged).encode(), "application/dicom+json")

        def do_POST(self) -> None:
            archive.requests.append(self.path)
            if self.headers.get("Transfer-Encoding") == "chunked":
                content = b""
                while size := int(self.rfile.readline(), 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                content = self.rfile.read(int(self.headers["Content-Length"]))
            body = content.partition(b"\r\n\r\n")[2]
            answer = {}
            if archive.refuses:
                failed = {"00081197": {"vr": "US", "Value": [0xA700]}}
                answer = {"00081198": {"vr": "SQ", "Value": [failed]}}
            else:
                archive.add(body[: body.rfind(b"\r\n--")])
            self.answer(json.dumps(answer).encode(), "application/dicom+json")

    return Handler


@pytest.fixture
def archive() -> Iterator[Archive]:
    held = Archive()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(held))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_address[1]}/w"
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settings(archive: Archive, **values: Any) -> PacsSettings:
    common = {"settle": 0.2, "poll": 0.1, "min_free_gb": 0.0, "timeout": 20.0}
    common |= {"fetch_from": {"url": archive.url}}
    return parse_settings(PacsSettings, common | values, source="test")


def filled(archive: Archive, folder: Path, **elements: Any) -> list[Path]:
    paths = planted_series(folder, **elements).paths
    for path in paths:
        archive.add(path.read_bytes())
    return paths


def web(archive: Archive, **values: Any) -> WebArchive:
    return WebArchive(WebAddress(url=archive.url), settings(archive, **values))


@contextmanager
def running(
    folder: Path, model: Path, lines: Lines, chosen: PacsSettings
) -> Iterator[Node]:
    node = Node(folder, WorkerOptions(model, device="cpu"), chosen, NAMES, lines)
    stop = Stop()
    node.start()
    thread = threading.Thread(target=node.run, args=(stop,))
    thread.start()
    try:
        yield node
    finally:
        stop.event.set()
        thread.join()
        node.close()


@pytest.mark.filterwarnings("ignore")
def test_a_study_is_found_fetched_segmented_and_filed(
    archive: Archive, bright_model: Path, tmp_path: Path
) -> None:
    paths = filled(archive, tmp_path / "sent", **DICOM_TAGS)
    lines = Lines()
    chosen = settings(
        archive,
        send_to={"url": archive.url},
        query={"ModalitiesInStudy": "CT"},
    )
    with running(tmp_path / "node", bright_model, lines, chosen):
        while len(archive.objects) <= len(paths):
            threading.Event().wait(0.05)
        asked = len(archive.requests)
        threading.Event().wait(1.0)
    (result,) = [d for d in archive.listed({}) if d.Modality == "SEG"]
    source = dcmread(paths[0])
    assert result.StudyInstanceUID == source.StudyInstanceUID
    assert result.PatientID == source.PatientID
    assert len(archive.objects) == len(paths) + 1  # it did not come round again
    assert "ModalitiesInStudy=CT" in archive.requests[0]
    assert asked
    assert len(json.loads((tmp_path / "node" / FETCHED).read_text())) == 1
    texts = [*lines.lines]
    for path in (tmp_path / "node").rglob("*"):
        texts.append(str(path.relative_to(tmp_path)))
        if path.suffix in {".csv", ".json"}:
            texts.append(path.read_text())
    for secret in [*SECRETS, source.StudyInstanceUID]:
        assert not any(secret.lower() in text.lower() for text in texts), secret


def test_objects_come_as_they_are_stored(archive: Archive, tmp_path: Path) -> None:
    (path,) = filled(archive, tmp_path, shape=(24, 28, 1), syntax="1.2.840.10008.1.2.5")
    (study,) = web(archive).studies({}).studies
    (item,) = web(archive).objects(study)
    assert item.content == path.read_bytes()


def test_an_object_above_the_limit_ends_the_fetching(
    archive: Archive, tmp_path: Path
) -> None:
    filled(archive, tmp_path, shape=(1200, 1200, 1))
    small = web(archive, max_object_mb=0.001)
    with pytest.raises(InputError, match="larger than max_object_mb"):
        list(small.objects(small.studies({}).studies[0]))


@pytest.mark.filterwarnings("ignore")
def test_an_archive_that_is_away_or_talks_nonsense_is_said_once(
    archive: Archive, tmp_path: Path
) -> None:
    lines = Lines()
    chosen = settings(archive)
    fetcher = Fetcher(tmp_path, Inbox(tmp_path, chosen, NAMES), chosen, NAMES, lines)
    archive.status = 503
    fetcher.poll(1.0)
    fetcher.poll(2.0)
    assert len(lines.lines) == 1
    assert "does not list its studies: HTTP 503; trying again" in lines.lines[0]
    nobody = WebArchive(WebAddress(url="http://127.0.0.1:9/w"), chosen)
    with pytest.raises(InputError, match="ConnectionError"):
        nobody.studies({})


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_that_lead_elsewhere_are_left_out(
    archive: Archive, tmp_path: Path
) -> None:
    filled(archive, tmp_path, shape=(6, 5, 1), study_uid="../../../etc/passwd")
    listing = web(archive).studies({})
    assert (listing.studies, listing.num_odd) == ([], 1)


def test_a_study_waits_until_it_has_not_grown(archive: Archive, tmp_path: Path) -> None:
    chosen = settings(archive, settle=5.0, poll=0.1)
    inbox = Inbox(tmp_path / "inbox", chosen, NAMES)
    fetcher = Fetcher(tmp_path, inbox, chosen, NAMES, Silent())
    filled(archive, tmp_path / "a", shape=(6, 5, 2))
    fetcher.poll(0.0)
    filled(archive, tmp_path / "b", shape=(6, 5, 3))
    fetcher.poll(4.0)
    fetcher.poll(6.0)
    assert not list((tmp_path / "inbox" / "studies").iterdir())
    fetcher.poll(9.5)
    (study,) = (tmp_path / "inbox" / "studies").iterdir()
    assert len(list(study.iterdir())) == 5
    asked = len(archive.requests)
    again = Fetcher(tmp_path, inbox, chosen, NAMES, Silent())
    again.poll(20.0)
    again.poll(30.0)
    assert not [r for r in archive.requests[asked:] if "/series" in r]


def test_a_refusal_and_a_token_are_passed_on(archive: Archive, tmp_path: Path) -> None:
    (path,) = planted_series(tmp_path, shape=(6, 5, 1)).paths
    archive.refuses = True
    chosen = settings(archive, send_to={"url": archive.url})
    with pytest.raises(OutputError, match="refuses it with reason 0xA700"):
        send(path, chosen)
    (tmp_path / "token").write_text("s3cret\n")
    web(archive, web_token=tmp_path / "token").studies({})
    assert archive.tokens == {"Bearer s3cret"}
    with pytest.raises(InputError, match="none: cannot be read"):
        web(archive, web_token=tmp_path / "none")


def test_a_study_with_a_segmentation_is_left_alone(
    archive: Archive, tmp_path: Path
) -> None:
    filled(archive, tmp_path, shape=(6, 5, 1))
    (study,) = web(archive).studies({}).studies
    assert not web(archive).has_segmentation(study)
    filled(archive, tmp_path / "seg", shape=(6, 5, 1), Modality="SEG")
    assert web(archive).has_segmentation(WebStudy(study.uid, 2))


@pytest.mark.parametrize(
    ("said", "is_ours"), [("dose", False), ("m measurements (research use only)", True)]
)
def test_a_study_with_a_report_of_ours_is_known(
    archive: Archive, tmp_path: Path, said: str, *, is_ours: bool
) -> None:
    filled(archive, tmp_path / "ct", shape=(6, 5, 1))
    filled(
        archive, tmp_path / "sr", shape=(6, 5, 1), Modality="SR", SeriesDescription=said
    )
    (study,) = web(archive).studies({}).studies
    assert web(archive).has_segmentation(study) is is_ours


def test_addresses_and_queries_are_read() -> None:
    assert str(parse_address("https://a.b/dicom-web")) == "https://a.b/dicom-web"
    assert isinstance(parse_address("A@b:1"), Address)
    for text in ("https://", "https://user:word@host/", "ftp://x", "http://h/?q=1"):
        with pytest.raises(SettingsError):
            parse_address(text)
    assert parse_query("Modality=CT, StudyDate=2026-") == {
        "Modality": "CT",
        "StudyDate": "2026-",
    }
    with pytest.raises(SettingsError, match="expected Keyword=value"):
        parse_query("Modality")
    with pytest.raises(SettingsError, match="nobody may send"):
        parse_settings(PacsSettings, {}, source="test")
