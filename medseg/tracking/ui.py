"""MLflow's own pages, opened on this machine only."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from medseg.errors import MissingFileError, TrackingError
from medseg.progress import Progress, Silent
from medseg.tracking.address import (
    ARTIFACTS,
    DATABASE,
    database_file,
    default_tracking_uri,
    without_credentials,
)
from medseg.tracking.runs_table import table_address
from medseg.tracking.signals import ended_by_signals
from medseg.tracking.store import ENVIRONMENT, connect

HOST = "127.0.0.1"

START_SECONDS = 180.0
"""What MLflow's server may take until it answers; it imports for seconds."""

END_SECONDS = 10.0
"""What MLflow's server may take to end by itself."""

SERVER_ENVIRONMENT = {
    **ENVIRONMENT,
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""Jobs are for language models; without them the server is one process."""


def ui_command(tracking_uri: str, *, port: int) -> list[str]:
    """The command that serves a store's pages on this machine."""
    database = database_file(tracking_uri)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", tracking_uri]
    if database is not None:
        artifacts = (database.parent / ARTIFACTS).as_uri()
        command += ["--default-artifact-root", artifacts]
    return command


def find_store(place: str | Path) -> str:
    """The tracking URI of a URI, a database file, a folder of runs, or a run.

    Raises:
        MissingFileError: No store is there.
    """
    if "://" in str(place):
        return str(place)
    path = Path(place)
    if path.is_file():
        return f"sqlite:///{path.resolve().as_posix()}"
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    for folder in (path, path.resolve().parent):
        if (folder / DATABASE).is_file():
            return default_tracking_uri(folder)
    raise MissingFileError(
        f"{place}: no {DATABASE} here or beside it; name the folder that holds the "
        "runs, or the server with --tracking-uri"
    )


@dataclass(frozen=True)
class Ui:
    """Pages to look at, and the server behind them."""

    address: str
    """What to open in a browser: the table of runs."""
    process: "subprocess.Popen[bytes] | None"
    """The server, which ends with `close`; none where the user's own serves."""

    def wait(self) -> None:
        """Returns when the server ends, which Ctrl-C and SIGTERM make it do."""
        try:
            if self.process is not None:
                self.process.wait()
        except KeyboardInterrupt:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Ends the server and the processes that it started, however busy they are."""
        if self.process is not None:
            _end(self.process)


def open_ui(
    place: str | Path, *, port: int = 5000, progress: Progress | None = None
) -> Ui:
    """Serves the pages of a store on this machine, and returns when they answer.

    A server that the user names serves its own pages: nothing is started.

    Args:
        place: As `find_store` takes it.
        port: Port to try first; the next free one is taken.
        progress: Told that it takes a moment.

    Raises:
        MissingFileError: No store is there.
        TrackingError: The store's SQLite file is broken, or the server does not start.
    """
    uri = find_store(place)
    if uri.startswith(("http://", "https://")):
        return Ui(without_credentials(uri), None)
    client = connect(uri)
    table = table_address(client, place, is_ours=database_file(uri) is not None)
    port = _free_port(port)
    (progress or Silent()).say("starting MLflow's server, which takes some seconds")
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ui_command(uri, port=port),
            env={**SERVER_ENVIRONMENT, **os.environ},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
        try:
            _wait_until_it_answers(process, f"http://{HOST}:{port}", said)
        except BaseException:
            _end(process)
            raise
    return Ui(f"http://{HOST}:{port}/{table}", process)


def show_ui(
    place: str | Path,
    *,
    port: int = 5000,
    browser: bool = False,
    progress: Progress,
) -> None:
    """Serves the pages of a store and says where, until Ctrl-C or SIGTERM.

    Args:
        place: As `find_store` takes it.
        port: Port to try first; the next free one is taken.
        browser: Open them in the user's browser, too.
        progress: Told the address.

    Raises:
        MissingFileError: No store is there.
        TrackingError: The store's SQLite file is broken, or the server does not start.
    """
    with ended_by_signals():
        try:
            ui = open_ui(place, port=port, progress=progress)
        except KeyboardInterrupt:
            return
        end = "; Ctrl-C ends it" if ui.process is not None else ""
        progress.say(f"MLflow: open {ui.address} in a browser{end}")
        if browser:
            import webbrowser

            with suppress(webbrowser.Error):
                webbrowser.open(ui.address)
        ui.wait()


def _wait_until_it_answers(
    process: "subprocess.Popen[bytes]", address: str, said: IO[bytes]
) -> None:
    """Returns when the server answers.

    Raises:
        TrackingError: It ended before, or took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with (
            suppress(OSError),  # nobody answers yet
            urllib.request.urlopen(f"{address}/health", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.3)
    said.seek(0)
    last = said.read().decode(errors="replace").strip().splitlines()[-5:]
    state = "took too long to start" if process.poll() is None else "did not start"
    raise TrackingError(
        f"MLflow's server {state}: {' '.join(last) or 'it said nothing'}"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _free_port(first: int) -> int:
    """The first port from the given one on that nobody listens to."""
    for port in range(first, first + 100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if probe.connect_ex((HOST, port)):
                return port
    return first
