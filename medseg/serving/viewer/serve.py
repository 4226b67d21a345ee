"""The server on this machine, and the browser that opens its page."""

import socket
import threading
import webbrowser

from medseg.errors import SettingsError
from medseg.extras import how_to_install
from medseg.prediction.shutdown import stop_on_signals
from medseg.progress import Progress
from medseg.serving.viewer.cases import CaseList
from medseg.serving.viewer.desk import Desk

_LONGEST_END = 5.0
"""Seconds that answers under way get when the server ends."""


def serve(
    cases: CaseList | None,
    *,
    desk: Desk | None = None,
    port: int = 0,
    open_browser: bool = True,
    progress: Progress,
) -> None:
    """Serves pages on 127.0.0.1 until Ctrl-C or SIGTERM.

    Args:
        cases: What to look at.
        desk: Where own pictures are segmented.
        port: 0 takes any that is free.
        open_browser: Whether to open the page in the user's browser.
        progress: Told the address.

    Raises:
        SettingsError: FastAPI or uvicorn is missing, or the port is taken.
    """
    try:
        import uvicorn

        from medseg.serving.viewer.app import make_app
        from medseg.serving.viewer.local_access import HOST, LocalAccess, make_token
    except ImportError as error:
        raise SettingsError(
            f"the server of pages needs {error.name}: {how_to_install('view')}; a "
            "page of one case needs no server: medseg view SCAN LABELS -o page.html"
        ) from error
    listener = _listening(HOST, port)
    taken = int(listener.getsockname()[1])
    token = make_token()
    guarded = LocalAccess(make_app(cases, desk), token=token, port=taken)
    config = uvicorn.Config(guarded, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    start = "" if cases is not None else "desk"
    address = f"http://{HOST}:{taken}/{start}?token={token}"
    progress.say(f"open {address}")
    progress.say("on this machine only; Ctrl-C ends it")
    with stop_on_signals(progress) as stop, listener:
        work = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        work.start()
        if open_browser:
            webbrowser.open(address)
        while work.is_alive() and not stop:
            stop.wait(0.5)
        server.should_exit = True
        work.join(timeout=_LONGEST_END)


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # whoever asks now is answered when the server has begun
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"port {port} cannot be used: {error.strerror}; --port 0 takes a free one"
        ) from error
    return listener
