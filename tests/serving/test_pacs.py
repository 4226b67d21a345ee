"""The DICOM node, tried by pynetdicom as a sender over the loopback device."""

import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from predict_phantoms import DICOM_TAGS, SECRETS, planted_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from medseg.errors import OutputError, PredictionError, SettingsError
from medseg.io.identity import Pseudonymizer
from medseg.prediction.shutdown import Stop
from medseg.progress import Silent
from medseg.serving.pacs.dicomweb import RefusedResultError
from medseg.serving.pacs.inbox import FullError, Inbox, RefusedObjectError
from medseg.serving.pacs.receiver import Receiver
from medseg.serving.pacs.sender import send
from medseg.serving.pacs.service import Node
from medseg.serving.pacs.settings import Address, PacsSettings
from medseg.serving.pacs.worker import Worker, WorkerOptions
from medseg.settings import parse_settings

pynetdicom = pytest.importorskip("pynetdicom")
from pynetdicom import AE, evt  # noqa: E402
from pynetdicom.sop_class import (  # noqa: E402
    CTImageStorage,
    EnhancedSRStorage,
    SegmentationStorage,
    Verification,
)

NAMES = Pseudonymizer(b"k" * 32)


class Lines(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(message)


def settings(**values: Any) -> PacsSettings:
    common = {"allow": ["FRIEND"], "port": 0, "settle": 0.3, "min_free_gb": 0.0}
    return parse_settings(PacsSettings, common | values, source="test")


@contextmanager
def receiving(
    folder: Path, lines: Lines | None = None, **values: Any
) -> Iterator[Receiver]:
    chosen = settings(**values)
    inbox = Inbox(folder, chosen, NAMES)
    receiver = Receiver(inbox, chosen, lines or Silent())
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def associate(
    port: int, *, title: str = "FRIEND", called: str = "MEDSEG", **options: Any
) -> Any:
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for context in (Verification, CTImageStorage, SegmentationStorage):
        entity.add_requested_context(context)
    return entity.associate("127.0.0.1", port, ae_title=called, **options)


def store(port: int, *objects: Path | Dataset) -> list[int | None]:
    association = associate(port)
    assert association.is_established
    answers = [association.send_c_store(item).get("Status") for item in objects]
    association.release()
    return answers


def some_object(folder: Path, **elements: Any) -> Dataset:
    return dcmread(planted_series(folder, shape=(6, 5, 1), **elements).paths[0])


def outside(folder: Path) -> set[Path]:
    """Everything that does not lie in the inbox."""
    return {
        path
        for path in folder.rglob("*")
        if "inbox" not in path.relative_to(folder).parts
    }


# --- who may talk --------------------------------------------------------------------


def test_an_echo_is_answered(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port)
        assert association.send_c_echo().Status == 0
        association.release()


# pynetdicom's thread stumbles where the node stops while a refusal is under way.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("title", "called"), [("STRANGER", "MEDSEG"), ("FRIEND", "X")])
def test_strangers_are_turned_away(tmp_path: Path, title: str, called: str) -> None:
    lines = Lines()
    with receiving(tmp_path, lines) as receiver:
        association = associate(receiver.port, title=title, called=called)
        assert not association.is_established
    assert any("turned away" in line for line in lines.lines)


def test_it_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    assert PacsSettings(allow=("A",)).host == "127.0.0.1"


def test_only_images_are_negotiated(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port)
        accepted = {
            context.abstract_syntax for context in association.accepted_contexts
        }
        association.release()
    assert accepted == {Verification, CTImageStorage}


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with (
        receiving(tmp_path / "a") as receiver,
        pytest.raises(SettingsError, match="cannot listen there"),
        receiving(tmp_path / "b", port=receiver.port),
    ):
        pass


# --- what is kept --------------------------------------------------------------------


def test_objects_are_kept_under_names_that_say_nothing(tmp_path: Path) -> None:
    planted = planted_series(tmp_path / "sent", shape=(6, 5, 3), **DICOM_TAGS)
    with receiving(tmp_path / "inbox") as receiver:
        assert store(receiver.port, *planted.paths) == [0, 0, 0]
    kept = sorted((tmp_path / "inbox").rglob("*.dcm"))
    assert len(kept) == 3
    assert {dcmread(path).SOPInstanceUID for path in kept} == {
        dcmread(path).SOPInstanceUID for path in planted.paths
    }
    for path in kept:
        relative = str(path.relative_to(tmp_path / "inbox"))
        assert all(c in "0123456789abcdef" for c in path.stem + path.parent.name)
        assert not any(secret.lower() in relative.lower() for secret in SECRETS)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyInstanceUID", "../../../../tmp/evil"),
        ("StudyInstanceUID", "/etc/passwd"),
        ("StudyInstanceUID", "1.2.$(touch evil)"),
        ("StudyInstanceUID", "1.2.3\n4"),
        ("StudyInstanceUID", ""),
        ("StudyInstanceUID", "1" * 65),
        ("StudyInstanceUID", "1.02.3"),
        ("SeriesInstanceUID", ".."),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_uids_that_are_none_are_refused(
    tmp_path: Path, keyword: str, value: str
) -> None:
    item = some_object(tmp_path / "sent")
    item[keyword]._value = value
    before = outside(tmp_path)
    with receiving(tmp_path / "inbox") as receiver:
        assert store(receiver.port, item) == [0xC000]
    assert [p for p in (tmp_path / "inbox").rglob("*") if p.is_file()] == []
    assert outside(tmp_path) == before


def test_an_object_that_is_not_what_its_sender_says_is_refused(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", settings(), NAMES)
    content = planted_series(tmp_path / "s", shape=(6, 5, 1)).paths[0].read_bytes()
    with pytest.raises(RefusedObjectError, match="not those that the sender gives"):
        inbox.store(content, sop_class=CTImageStorage, sop_instance="1.2.3")
    with pytest.raises(RefusedObjectError, match="damaged"):
        inbox.store(b"rubbish", sop_class=CTImageStorage, sop_instance="1.2.3")
    assert not [p for p in (tmp_path / "inbox").rglob("*") if p.is_file()]


def test_the_same_object_again_replaces_itself(tmp_path: Path) -> None:
    item = some_object(tmp_path / "sent")
    with receiving(tmp_path / "inbox") as receiver:
        assert store(receiver.port, item, item) == [0, 0]
    assert len(list((tmp_path / "inbox").rglob("*.dcm"))) == 1


# --- limits --------------------------------------------------------------------------


def test_an_object_above_the_limit_ends_the_association(tmp_path: Path) -> None:
    lines = Lines()
    big = dcmread(planted_series(tmp_path / "s", shape=(512, 600, 1)).paths[0])
    with receiving(tmp_path / "inbox", lines, max_object_mb=0.3) as receiver:
        association = associate(receiver.port)
        answer = association.send_c_store(big)
        assert answer.get("Status") is None
        small = some_object(tmp_path / "t")
        assert store(receiver.port, small, small, small) == [0, 0, 0]
    assert any("larger than max_object_mb" in line for line in lines.lines)
    assert len(list((tmp_path / "inbox").rglob("*.dcm"))) == 1


def test_a_full_inbox_is_said_to_the_sender(tmp_path: Path) -> None:
    paths = planted_series(tmp_path / "s", shape=(6, 5, 3)).paths
    with receiving(tmp_path / "a", max_study_objects=2) as receiver:
        assert store(receiver.port, *paths) == [0, 0, 0xA700]
    with receiving(tmp_path / "b", max_total_gb=1e-9) as receiver:
        assert store(receiver.port, paths[0]) == [0xA700]
    inbox = Inbox(tmp_path / "c", settings(min_free_gb=1e6), NAMES)
    item = dcmread(paths[0])
    with pytest.raises(FullError, match="min_free_gb"):
        inbox.store(
            paths[0].read_bytes(),
            sop_class=item.SOPClassUID,
            sop_instance=item.SOPInstanceUID,
        )


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00" + struct.pack(">L", 0xFFFFFFFF) + b"x" * 100,
        b"\x04\x00" + struct.pack(">L", 12) + b"\xff" * 12,
        b"",
    ],
)
def test_rubbish_on_the_line_does_no_harm(tmp_path: Path, content: bytes) -> None:
    with receiving(tmp_path, timeout=2.0) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port)) as line:
            line.sendall(content)
        association = associate(receiver.port)
        assert association.send_c_echo().Status == 0
        association.release()


# --- TLS -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9"]
    subject = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run([*command, *subject], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed, which makes the test's certificate")
    return cert, key


def test_tls_is_required_where_it_is_asked_for(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    own = {"tls_cert": cert, "tls_key": key, "tls_ca": cert, "timeout": 3.0}
    with receiving(tmp_path, **own) as receiver:
        client = ssl.create_default_context(cafile=cert)
        client.check_hostname = False
        assert not associate(receiver.port, tls_args=(client, None)).is_established
        client.load_cert_chain(cert, key)
        association = associate(receiver.port, tls_args=(client, None))
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()
        assert not associate(receiver.port).is_established


def test_tls_files_go_together_and_must_be_usable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="go together"):
        settings(tls_cert=tmp_path / "c")
    absent = {"tls_cert": tmp_path / "c", "tls_key": tmp_path / "k"}
    with (
        pytest.raises(SettingsError, match="cannot be used"),
        receiving(tmp_path / "i", **absent),
    ):
        pass


# --- addresses -----------------------------------------------------------------------


def test_addresses_are_read_and_wrong_ones_named() -> None:
    assert str(Address.parse("ORTHANC@127.0.0.1:4242")) == "ORTHANC@127.0.0.1:4242"
    assert Address.parse("A B@[::1]:104").host == "::1"
    for text in ("ORTHANC", "X@host", "T" * 17 + "@h:1", "@h:1", "A@h:99999"):
        with pytest.raises(SettingsError):
            Address.parse(text)


# --- the whole way -------------------------------------------------------------------


@contextmanager
def archive(
    title: str = "ARCHIVE",
    status: int = 0,
    kinds: Sequence[str] = (SegmentationStorage,),
) -> Iterator[tuple[Address, list[Dataset]]]:
    """A node that takes segmentations, and reports where asked, as a PACS does."""
    received: list[Dataset] = []

    def keep(event: Any) -> int:
        received.append(event.dataset)
        return status

    entity = AE(ae_title="ARCHIVE")
    for kind in kinds:
        entity.add_supported_context(kind)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    port = server.socket.getsockname()[1]
    try:
        yield Address(ae_title="ARCHIVE", host="127.0.0.1", port=port), received
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def node(
    folder: Path, model: Path, lines: Lines, *, sr: bool = False, **values: Any
) -> Iterator[Node]:
    options = WorkerOptions(model, device="cpu", sr=sr)
    running = Node(folder, options, settings(**values), NAMES, lines)
    stop = Stop()
    running.start()
    thread = threading.Thread(target=running.run, args=(stop,))
    thread.start()
    try:
        yield running
    finally:
        stop.event.set()
        thread.join()
        running.close()


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore")
def test_a_study_comes_back_as_a_segmentation_of_the_same_study(
    bright_model: Path, tmp_path: Path
) -> None:
    lines = Lines()
    planted = planted_series(tmp_path / "sent", **DICOM_TAGS)
    with (
        archive() as (address, received),
        node(tmp_path / "node", bright_model, lines, send_to=address) as running,
    ):
        assert set(store(running.port, *planted.paths)) == {0}
        wait_until(lambda: bool(received))
    source = dcmread(planted.paths[0])
    (result,) = received
    assert result.SOPClassUID == SegmentationStorage
    assert result.StudyInstanceUID == source.StudyInstanceUID
    assert result.PatientID == source.PatientID
    referenced = result.ReferencedSeriesSequence[0].SeriesInstanceUID
    assert referenced == source.SeriesInstanceUID
    texts = [*lines.lines]
    for path in (tmp_path / "node").rglob("*"):
        texts.append(str(path.relative_to(tmp_path)))
        if path.suffix in {".csv", ".json"}:
            texts.append(path.read_text())
    for secret in SECRETS:
        assert not any(secret.lower() in text.lower() for text in texts), secret


@pytest.mark.filterwarnings("ignore")
def test_what_could_not_be_sent_is_sent_later_and_once(
    bright_model: Path, tmp_path: Path
) -> None:
    lines = Lines()
    paths = planted_series(tmp_path / "sent").paths
    nobody = Address(ae_title="ARCHIVE", host="127.0.0.1", port=9)
    with node(tmp_path / "node", bright_model, lines, send_to=nobody) as running:
        store(running.port, *paths)
        wait_until(lambda: any("trying again" in line for line in lines.lines))
    with archive() as (address, received):
        for _ in range(2):  # a restart sends what is left, and not twice
            with node(tmp_path / "node", bright_model, lines, send_to=address):
                wait_until(lambda: len(received) == 1)
                time.sleep(1.5)
    assert len(received) == 1


@pytest.mark.filterwarnings("ignore")
def test_objects_and_results_go_when_their_time_is_over(
    bright_model: Path, tmp_path: Path
) -> None:
    lines = Lines()
    folder = tmp_path / "node"
    paths = planted_series(tmp_path / "sent").paths
    with node(folder, bright_model, lines, keep_hours=0.0) as running:
        store(running.port, *paths)
        wait_until(lambda: any(": done" in line for line in lines.lines))
        wait_until(lambda: not list((folder / "inbox").rglob("*.dcm")))
        wait_until(lambda: not list((folder / "results").iterdir()))
    assert not any("failed" in line for line in lines.lines)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("takes_reports", [True, False])
def test_a_report_goes_along_where_the_destination_takes_any(
    bright_model: Path, tmp_path: Path, *, takes_reports: bool
) -> None:
    lines = Lines()
    paths = planted_series(tmp_path / "sent").paths
    kinds = [SegmentationStorage, *([EnhancedSRStorage] if takes_reports else [])]
    folder = tmp_path / "node"
    with (
        archive(kinds=kinds) as (address, received),
        node(folder, bright_model, lines, sr=True, send_to=address) as running,
    ):
        store(running.port, *paths)
        end = "sr.dcm sent" if takes_reports else "takes no objects of its kind"
        wait_until(lambda: any(end in line for line in lines.lines))
        time.sleep(1.5)
    assert [item.SOPClassUID for item in received] == kinds
    assert not any("trying again" in line for line in lines.lines)
    assert len(list((folder / "results").glob("*/*_sr.dcm"))) == 1


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_made_cannot_be_sent_and_is_said(
    bright_model: Path, tmp_path: Path
) -> None:
    lines = Lines()
    paths = planted_series(tmp_path / "sent", FrameOfReferenceUID=None).paths
    kinds = (SegmentationStorage, EnhancedSRStorage)
    with (
        archive(kinds=kinds) as (address, received),
        node(tmp_path / "node", bright_model, lines, sr=True, send_to=address) as one,
    ):
        store(one.port, *paths)
        wait_until(lambda: any("sr.dcm sent" in line for line in lines.lines))
    assert [item.SOPClassUID for item in received] == [EnhancedSRStorage]
    (said,) = [line for line in lines.lines if "no DICOM segmentation" in line]
    assert "FrameOfReferenceUID is missing" in said
    assert "not sent, there is" in said
    assert len(list((tmp_path / "node" / "results").glob("*/*.nii.gz"))) == 1


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (RefusedResultError("not this one"), ["b/x_seg.dcm", "a/y_seg.dcm"]),
        (OutputError("nobody answers"), []),
    ],
)
def test_one_refused_result_holds_up_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: OutputError,
    sent: list[str],
) -> None:
    lines, done = Lines(), []

    def deliver(path: Path, _: PacsSettings) -> None:
        name = f"{path.parent.name}/{path.name}"
        if name == "a/x_seg.dcm":
            raise error
        done.append(name)

    monkeypatch.setattr("medseg.serving.pacs.service.send", deliver)
    to = Address(ae_title="ARCHIVE", host="127.0.0.1", port=9)
    options = WorkerOptions(tmp_path / "model")
    running = Node(tmp_path / "node", options, settings(send_to=to), NAMES, lines)
    for name in ("a/x_seg.dcm", "a/y_seg.dcm", "b/x_seg.dcm"):
        file = tmp_path / "node" / "results" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(name.encode())
    running._unsent = {"a", "b"}
    for _ in range(2):
        running._next_try = 0.0
        running._send_what_is_left()
    assert sorted(done) == sorted(sent)
    assert running._unsent == ({"a"} if sent else {"a", "b"})
    assert len([line for line in lines.lines if "trying again" in line]) == 2


def test_a_refused_result_names_status_and_destination(tmp_path: Path) -> None:
    path = planted_series(tmp_path, shape=(6, 5, 1)).paths[0]
    item = dcmread(path)
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    item.save_as(path, enforce_file_format=True)
    with (
        archive(status=0xA700) as (address, _),
        pytest.raises(OutputError, match=r"refuses it with status 0xA700"),
    ):
        send(path, settings(send_to=address))


def test_a_worker_that_dies_or_dawdles_costs_one_study(
    model: Path, tmp_path: Path
) -> None:
    planted_series(tmp_path / "study")
    worker = Worker(WorkerOptions(model, device="cpu"), time_limit=200)
    try:
        worker.check()
        worker._process.kill()
        worker._process.join()
        (line,) = worker.segment(tmp_path / "study", tmp_path / "out")
        assert line.status == "done"
        worker._time_limit = 0.0
        with pytest.raises(PredictionError, match="gave up"):
            worker.segment(tmp_path / "study", tmp_path / "again")
    finally:
        worker.stop()


def test_a_damaged_model_is_known_before_anyone_is_heard(tmp_path: Path) -> None:
    worker = Worker(WorkerOptions(tmp_path, device="cpu"), time_limit=200)
    with pytest.raises(PredictionError, match="no model folder"):
        worker.check()
    worker.stop()
