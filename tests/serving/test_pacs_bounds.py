"""Nothing blocks the node, nothing is lost, nobody else reads: silent connections,
dripping archives, full disks, odd UIDs."""

import json
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from predict_phantoms import planted_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from medseg.errors import InputError, OutputError, PredictionError
from medseg.io.identity import Pseudonymizer
from medseg.progress import Silent
from medseg.serving.pacs.dicomweb import WebArchive
from medseg.serving.pacs.fetcher import Fetcher
from medseg.serving.pacs.inbox import Inbox
from medseg.serving.pacs.receiver import Receiver
from medseg.serving.pacs.service import Node
from medseg.serving.pacs.settings import PacsSettings, WebAddress
from medseg.serving.pacs.worker import Worker, WorkerOptions
from medseg.settings import parse_settings

pytest.importorskip("pynetdicom")
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


def settings(**values: Any) -> PacsSettings:
    common = {"allow": ["FRIEND"], "port": 0, "settle": 0.01, "min_free_gb": 0.0}
    return parse_settings(PacsSettings, common | values, source="test")


def until(condition: Callable[[], bool]) -> None:
    """Waits as long as it takes; pytest's own limit ends what never comes."""
    while not condition():
        time.sleep(0.02)


# --- TLS -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    request += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(request, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    return {"tls_cert": cert, "tls_key": key}


def says_nothing(connection: socket.socket) -> None:
    """Not a byte."""


def says_half(connection: socket.socket) -> None:
    """The beginning of a ClientHello."""
    connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")


def says_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")


def hangs_up(connection: socket.socket) -> None:
    connection.close()


@contextmanager
def receiving(folder: Path, lines: Lines, **values: Any) -> Iterator[Receiver]:
    chosen = settings(**values)
    receiver = Receiver(Inbox(folder, chosen, NAMES), chosen, lines)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def agree_on_tls(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain:
        context.wrap_socket(plain).close()


# pynetdicom's thread stumbles where the node stops while an association begins.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("manner", [says_nothing, says_half, says_nonsense, hangs_up])
def test_one_connection_keeps_nobody_out(
    manner: Callable, certificate: dict[str, Path], tmp_path: Path
) -> None:
    # The time limit is longer than the test may take: who waits for it, fails.
    with receiving(tmp_path, Lines(), timeout=3600.0, **certificate) as receiver:
        odd = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(3)]
        for connection in odd:
            manner(connection)
        agree_on_tls(receiver.port)
    for connection in odd:  # and the node ended all the same
        connection.close()


@pytest.mark.parametrize("manner", [says_nothing, says_half])
def test_a_silent_connection_is_closed_and_said(
    manner: Callable, certificate: dict[str, Path], tmp_path: Path
) -> None:
    lines = Lines()
    with receiving(tmp_path, lines, timeout=0.3, **certificate) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
            manner(connection)
            with suppress(ConnectionResetError):
                while connection.recv(100):  # until the node hangs up
                    pass
        until(lambda: bool(lines.lines))
    assert "no TLS within the time limit" in lines.lines[0]


# --- DICOMweb ------------------------------------------------------------------------


class Drips(BaseHTTPRequestHandler):
    """An answer that never ends: after `part` it goes on byte by byte."""

    part = b""
    ended: threading.Event

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with suppress(OSError):
            self.wfile.write(self.part)
            while not self.ended.wait(0.02):
                self.wfile.write(b"x")

    do_POST = do_GET  # noqa: N815


class DripsHeaders(Drips):
    part = b"HTTP/1.1 200 OK\r\nX-Long: "


class DripsBody(Drips):
    part = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"
        b"Content-Length: 100000000\r\n\r\n["
    )


class DripsChunks(Drips):
    part = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5;"
    )


class Hangs(Drips):
    def do_GET(self) -> None:
        self.ended.wait()


@contextmanager
def serving(kind: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    ended = threading.Event()
    handler = type(kind.__name__, (kind,), {"ended": ended})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/w"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def archive(url: str, **values: Any) -> WebArchive:
    chosen = settings(**{"timeout": 0.4, **values, "fetch_from": {"url": url}})
    return WebArchive(WebAddress(url=url), chosen)


@pytest.mark.parametrize("kind", [DripsHeaders, DripsBody, DripsChunks, Hangs])
def test_an_answer_that_never_ends_is_cut(kind: type[Drips]) -> None:
    with serving(kind) as url, pytest.raises(InputError, match="does not list"):
        archive(url).studies({})


@pytest.mark.parametrize("kind", [DripsHeaders, Hangs])
def test_a_result_is_not_sent_for_ever(kind: type[Drips], tmp_path: Path) -> None:
    path = planted_series(tmp_path, shape=(6, 5, 1)).paths[0]
    with serving(kind) as url, pytest.raises(OutputError, match="does not take"):
        archive(url).store(path)


def test_a_dripping_archive_holds_up_no_segmenting(tmp_path: Path) -> None:
    with serving(Hangs) as url:
        chosen = settings(timeout=3600.0, fetch_from={"url": url})
        with running(tmp_path, Segments(), Lines(), chosen) as node:
            receive(node, tmp_path)
            until(lambda: bool(node._worker.done))


class Lists(BaseHTTPRequestHandler):
    """Two studies, of which the first has a UID that is none."""

    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        uids = ["1.2/../3", "1.2.3"] if self.path.startswith("/w/studies?") else []
        items = [{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in uids]
        body = json.dumps(items).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_one_odd_uid_stops_no_other_study(tmp_path: Path) -> None:
    asked: list[str] = []
    lines = Lines()
    with serving(type("Handler", (Lists,), {"asked": asked})) as url:
        chosen = settings(fetch_from={"url": url}, settle=0.1)
        inbox = Inbox(tmp_path / "inbox", chosen, NAMES)
        fetcher = Fetcher(tmp_path, inbox, chosen, NAMES, lines)
        fetcher.poll(0.0)
        fetcher.poll(100.0)
        fetcher.poll(200.0)
    assert any(path.startswith("/w/studies/1.2.3/series") for path in asked)
    assert not any(".." in path for path in asked)
    said = [line for line in lines.lines if "UIDs that are none" in line]
    assert said == ["1 studies have UIDs that are none; left; trying again"]


# --- the node ------------------------------------------------------------------------


class Segments:
    """Stands for the process that segments; fails as often as it is told to."""

    def __init__(self, failures: Iterable[Exception] = ()) -> None:
        self.failures = iter(failures)
        self.num_failed = 0
        self.done: list[Path] = []

    def check(self) -> None:
        """All is well."""

    def segment(self, study: Path, out: Path) -> list[Any]:
        for failure in self.failures:
            self.num_failed += 1
            raise failure
        self.done.append(study)
        return []

    def stop(self) -> None:
        """Nothing to end."""


@contextmanager
def running(
    folder: Path, worker: Segments, lines: Lines, chosen: PacsSettings
) -> Iterator[Node]:
    from medseg.prediction.shutdown import Stop

    node = Node(folder, WorkerOptions(folder), chosen, NAMES, lines)
    node._worker = worker  # type: ignore[assignment]
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


def receive(node: Node, folder: Path) -> Dataset:
    """An object, as the receiver hands it over."""
    path = planted_series(folder / "sent", shape=(6, 5, 1)).paths[0]
    item = dcmread(path)
    keep(node._inbox, path.read_bytes(), item)
    return item


def keep(inbox: Inbox, content: bytes, item: Dataset) -> None:
    inbox.store(content, sop_class=item.SOPClassUID, sop_instance=item.SOPInstanceUID)


def test_a_full_disk_gives_no_study_up(tmp_path: Path) -> None:
    full = [OutputError("results: cannot be written: no space left") for _ in range(5)]
    lines = Lines()
    with running(tmp_path, Segments(full), lines, settings(keep_hours=0)) as node:
        receive(node, tmp_path)
        until(lambda: bool(node._worker.done))
    assert len([line for line in lines.lines if "no space left" in line]) == 1


def test_what_was_not_done_for_want_of_room_is_kept(tmp_path: Path) -> None:
    worker = Segments(repeat(OutputError("no space left")))
    chosen = settings(keep_hours=0)
    with running(tmp_path, worker, Lines(), chosen) as node:
        receive(node, tmp_path)
        until(lambda: worker.num_failed > 4)
        assert list((tmp_path / "inbox" / "studies").glob("*/*.dcm"))


def test_a_study_that_cannot_be_segmented_is_given_up(tmp_path: Path) -> None:
    worker = Segments(repeat(PredictionError("no")))
    with running(tmp_path, worker, Lines(), settings(keep_hours=0)) as node:
        receive(node, tmp_path)
        until(lambda: not list((tmp_path / "inbox" / "studies").iterdir()))
    assert worker.num_failed == 2


def test_nobody_else_may_enter_what_holds_identities(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir(mode=0o755)  # as an earlier version made it
    with running(tmp_path, Segments(), Lines(), settings()) as node:
        receive(node, tmp_path)
        for folder in [tmp_path / "results", *(tmp_path / "inbox").rglob("*")]:
            if folder.is_dir():
                assert not stat.S_IMODE(folder.stat().st_mode) & 0o077, folder


def test_other_content_under_the_same_uid_is_said(tmp_path: Path) -> None:
    lines = Lines()
    inbox = Inbox(tmp_path / "inbox", settings(), NAMES, lines)
    path = planted_series(tmp_path / "sent", shape=(6, 5, 1)).paths[0]
    item = dcmread(path)
    keep(inbox, path.read_bytes(), item)
    keep(inbox, path.read_bytes(), item)
    assert not lines.lines
    item.PixelData = bytes(len(item.PixelData))
    item.save_as(path)
    keep(inbox, path.read_bytes(), item)
    assert "under the same UID and with other content" in lines.lines[0]
    assert str(item.SOPInstanceUID) not in lines.lines[0]


def test_a_model_that_cannot_be_used_is_said_by_its_process(tmp_path: Path) -> None:
    """Whatever kind of error it is: the process answers, it does not end."""
    (tmp_path / "model.yaml").write_text("plan: 1")
    worker = Worker(WorkerOptions(tmp_path), time_limit=3600.0)
    try:
        with pytest.raises(PredictionError, match=r"model\.yaml"):
            worker.check()
    finally:
        worker.stop()
