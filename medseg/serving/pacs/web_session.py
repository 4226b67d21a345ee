"""HTTP with limits: slow servers are cut off, oversized answers are not read.

The time limit of a read is met by a server that sends a byte now and then, headers
included. So whatever is waited for has a deadline, at which a timer closes the
connection.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from medseg.errors import InputError

PIECE = 1 << 16
"""Bytes that are read at a time, each piece within the time limit."""

SLOWEST = 50_000
"""Bytes per second that an object must come or go with, once it began."""


class BoundedSession(requests.Session):
    """A session for one thread, whose answers are bounded in time and size."""

    def __init__(self, *, timeout: float, most_bytes: int) -> None:
        """Opens no connection.

        Args:
            timeout: Seconds for an answer to begin, and for each piece of it.
            most_bytes: Bytes of one object, after which no more are read.
        """
        super().__init__()
        self._timeout, self._most_bytes = timeout, most_bytes
        self._connections = _Connections()
        self._count, self._began = 0, time.monotonic()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _adapter(self._connections))

    def start_anew(self) -> None:
        """Resets the limits for the next object of an answer."""
        self._count, self._began = 0, time.monotonic()

    def abort(self) -> None:
        """Closes all connections; a request under way in another thread fails."""
        self._connections.close()

    def send(self, request: Any, **options: Any) -> Any:
        """Sends a request; its answer is read within the bounds, whoever reads it."""
        streamed = options.get("stream")
        size = len(request.body) if isinstance(request.body, bytes) else 0
        with self._connections.closed_after(self._timeout + size / SLOWEST):
            answer = super().send(request, **{**options, "stream": True})
        self.start_anew()
        read = answer.iter_content

        def bounded(*_: Any, **__: Any) -> Iterator[bytes]:
            pieces = iter(read(PIECE))
            while piece := self._next(pieces):
                yield piece

        answer.iter_content = bounded  # type: ignore[method-assign]
        if not streamed:
            answer.content  # noqa: B018  # reads it
        return answer

    def _next(self, pieces: Iterator[bytes]) -> bytes:
        """The next piece; nothing at the end.

        Raises:
            requests.RequestException: It did not come in time.
            InputError: The object is too large, or comes too slowly.
        """
        with self._connections.closed_after(self._timeout):
            piece = next(pieces, b"")
        self._count += len(piece)
        if self._count > self._most_bytes:
            raise InputError("an object is larger than max_object_mb")
        spent = time.monotonic() - self._began
        if spent > self._timeout + self._count / SLOWEST:
            raise InputError(f"an object comes with less than {SLOWEST // 1000} kB/s")
        return piece


class _Connections:
    """What is open of a session, so that it can be closed from outside."""

    def __init__(self) -> None:
        self._sockets: list[socket] = []

    def add(self, connection: socket) -> None:
        """One more."""
        alive = [known for known in self._sockets if known.fileno() >= 0]
        self._sockets = [*alive, connection]

    @contextmanager
    def closed_after(self, seconds: float) -> Iterator[None]:
        """Closes all where the block takes longer.

        Raises:
            requests.Timeout: It did; half of an answer may look like a whole one.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            self.close()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        if late.is_set():
            raise requests.Timeout(f"not within {seconds:g} s")

    def close(self) -> None:
        """Closes all."""
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)


def _adapter(connections: _Connections) -> HTTPAdapter:
    """Makes connections that are kept note of."""

    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            connections.add(self.sock)

    class SecureConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            connections.add(self.sock)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            pools = {"http": Pool, "https": SecurePool}
            self.poolmanager.pool_classes_by_scheme = pools

    return Adapter()
