"""Servers that answer wrongly, slowly or never: the run goes on, entries wait."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medseg.tracking import delivery


class Answer(BaseHTTPRequestHandler):
    """Reads a request; what follows is the business of each kind of server."""

    ended: threading.Event

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with suppress(OSError):
            self.misbehave()

    do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815  # http.server's names

    def misbehave(self) -> None:
        raise NotImplementedError


class Drips(Answer):
    """A byte now and then, so that no read ever times out."""

    def misbehave(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.ended.wait(0.05):
            self.wfile.write(b" ")
            self.wfile.flush()


class Hangs(Answer):
    """Not a word."""

    def misbehave(self) -> None:
        self.ended.wait()


class Says(Answer):
    """The same to everybody, with success."""

    text = b"{}"

    def misbehave(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text)


class Page(Says):
    text = b"<html>please log in</html>"


class EmptyList(Says):
    text = b"[]"


@contextmanager
def serving(kind: type[Answer]) -> Iterator[str]:
    ended = threading.Event()
    handler = type(kind.__name__, (kind,), {"ended": ended})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", [Drips, Hangs, Says, Page, EmptyList])
def test_the_run_goes_on_and_nothing_is_discarded(
    kind: type[Answer], start: Callable, runs, heard, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    with serving(kind) as address:
        run = start(tracking_uri=address, deadline=0.5)
        run.log_params({"seed": 0})
        run.log_metrics({"loss": 1.0}, step=0)
        run.set_tags({"a": "b"})
        run.finish("FINISHED")
    waiting = (runs / "one" / "tracking" / "journal.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in waiting]
    assert kinds == ["status", "params", "metrics", "tags", "status"]
    assert not (runs / "one" / "tracking" / "refused.jsonl").exists()
    assert "cannot be reached" in heard.warnings[0]
    assert "5 entries have not reached" in heard.warnings[-1]


def test_whatever_a_proxy_swallows_is_sent_again(start, client, runs, monkeypatch):
    """Each call that writes is swallowed once, as an answer of ``{}`` does it."""
    run = start()
    run._uploader.close()  # from here on, deliveries are made by hand
    swallowed: set[str] = set()

    class Swallowing:
        def __getattr__(self, name: str) -> object:
            real = getattr(client, name)

            def call(*arguments: object, **named: object) -> object:
                key = f"{name} {sorted(named)}"
                if (
                    name.startswith(("log_", "set_", "update_"))
                    and key not in swallowed
                ):
                    swallowed.add(key)
                    return None
                return real(*arguments, **named)

            return call

    entries = [
        {"n": 2, "kind": "params", "values": {"seed": 0}},
        {"n": 3, "kind": "metrics", "values": {"loss": 1.0}, "step": 0, "time": 5},
        {"n": 4, "kind": "tags", "values": {"a": "b"}},
        {"n": 5, "kind": "status", "value": "FINISHED", "time": 9},
    ]
    for entry in entries:
        swallowed.clear()
        with pytest.raises(delivery.UnconfirmedError):
            delivery.deliver(Swallowing(), run.run_id, [entry], file=None)
        delivery.deliver(Swallowing(), run.run_id, [entry], file=None)
    seen = client.get_run(run.run_id)
    assert (seen.data.params, seen.data.metrics) == ({"seed": "0"}, {"loss": 1.0})
    assert (seen.data.tags["a"], seen.info.status) == ("b", "FINISHED")


def test_a_file_that_is_not_kept_is_noticed(start, client, runs, monkeypatch):
    run = start()
    run._uploader.close()
    monkeypatch.setattr(delivery, "THROUGH_THE_SERVER", ("file:",))
    file = runs / "one" / "notes.txt"
    file.write_text("hello")
    real = client.log_artifact
    monkeypatch.setattr(client, "log_artifact", lambda *_: None)
    entry = {"n": 2, "kind": "artifact", "path": "notes.txt", "folder": "texts"}
    with pytest.raises(delivery.UnconfirmedError, match=r"notes\.txt"):
        delivery.deliver(client, run.run_id, [entry], file=file)
    monkeypatch.setattr(client, "log_artifact", real)
    delivery.deliver(client, run.run_id, [entry], file=file)
