"""The server that takes connections: TLS is agreed on in each connection's own thread.

pynetdicom agrees on it where connections are taken, so that one that says nothing would
keep out all others.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import BoundedSemaphore, Thread
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import ThreadedAssociationServer

from medseg.serving.pacs.settings import PacsSettings, server_context

HANDSHAKES = 64
"""Connections that may agree on TLS at the same time; more are closed."""


class Listener(ThreadedAssociationServer):
    """pynetdicom's server, with time limits before an association begins."""

    daemon_threads = True  # the node ends whoever is still agreeing on TLS
    handshake_seconds: float
    hang_up: Callable[[str], None]
    handshakes: BoundedSemaphore

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection as it came: nothing is said to it here."""
        assert self.socket is not None
        return self.socket.accept()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Agrees on TLS where that is asked for, then lets the association begin."""
        if self.ssl_context is not None:
            secured = self._secured(request)
            if secured is None:
                self.shutdown_request(request)
                return
            request = secured
        super().finish_request(request, client_address)

    def _secured(self, request: socket.socket) -> socket.socket | None:
        """The connection under TLS; None where that does not come about in time."""
        if not self.handshakes.acquire(blocking=False):
            self.hang_up(f"more than {HANDSHAKES} connections that agree on TLS")
            return None
        try:
            request.settimeout(self.handshake_seconds)
            assert self.ssl_context is not None
            secured = self.ssl_context.wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            )
            secured.do_handshake()
            secured.settimeout(None)
        except TimeoutError:
            self.hang_up("no TLS within the time limit")
        except OSError:  # ssl.SSLError is one
            self.hang_up("no TLS came about")
        else:
            return secured
        finally:
            self.handshakes.release()
        with suppress(OSError, UnboundLocalError):
            secured.close()
        return None


def listen(
    entity: AE,
    settings: PacsSettings,
    *,
    handlers: list[Any],
    hang_up: Callable[[str], None],
) -> Listener:
    """A server that takes connections from now on, in threads of its own.

    Args:
        entity: What it offers, and to whom.
        settings: The address, the time limit, and the certificates.
        handlers: Of pynetdicom's events.
        hang_up: Told why a connection was closed.

    Raises:
        OSError: The address cannot be had.
        SettingsError: A certificate cannot be used.
    """
    server: Any = entity.make_server(
        (settings.host, settings.port),
        ssl_context=server_context(settings),
        evt_handlers=handlers,
        server_class=Listener,
    )
    assert isinstance(server, Listener)
    server.handshake_seconds, server.hang_up = settings.timeout, hang_up
    server.handshakes = BoundedSemaphore(HANDSHAKES)
    entity._servers.append(server)  # noqa: SLF001  # as `AE.start_server` does
    Thread(target=server.serve_forever, name="medseg-listener", daemon=True).start()
    return server
