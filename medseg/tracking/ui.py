"""MLflow's own pages, opened on this machine only."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from medseg.errors import MissingFileError
from medseg.progress import Progress
from medseg.tracking.address import (
    ARTIFACTS,
    DATABASE,
    database_file,
    default_tracking_uri,
    without_credentials,
)
from medseg.tracking.store import ENVIRONMENT, connect

HOST = "127.0.0.1"

END_SECONDS = 10.0
"""What MLflow's server may take to end by itself."""


def ui_command(tracking_uri: str, *, port: int) -> list[str]:
    """The command that serves a store's pages on this machine."""
    database = database_file(tracking_uri)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST]
    command += ["--port", str(port), "--backend-store-uri", tracking_uri]
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
    """What to open in a browser."""
    process: "subprocess.Popen[bytes] | None"
    """The server, which ends with `close`; none where the user's own serves."""

    def wait(self) -> None:
        """Returns when the server ends, which Ctrl-C makes it do."""
        try:
            if self.process is not None:
                self.process.wait()
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Ends the server and the processes that it started, however busy they are."""
        if self.process is None:
            return
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.kill()
        self.process.wait()


def open_ui(place: str | Path, *, port: int = 5000) -> Ui:
    """Serves the pages of a store on this machine, without network access.

    A server that the user names serves its own pages: nothing is started.

    Args:
        place: As `find_store` takes it.
        port: Port to try first; the next free one is taken.

    Raises:
        MissingFileError: No store is there.
        TrackingError: The store's SQLite file is broken.
    """
    uri = find_store(place)
    if uri.startswith(("http://", "https://")):
        return Ui(without_credentials(uri), None)
    connect(uri)
    port = _free_port(port)
    process = subprocess.Popen(
        ui_command(uri, port=port),
        env={**ENVIRONMENT, **os.environ},
        start_new_session=True,  # Ctrl-C is ours to pass on
    )
    return Ui(f"http://{HOST}:{port}", process)


def show_ui(place: str | Path, *, port: int = 5000, progress: Progress) -> None:
    """Serves the pages of a store and says where, until Ctrl-C.

    Args:
        place: As `find_store` takes it.
        port: Port to try first; the next free one is taken.
        progress: Told the address.

    Raises:
        MissingFileError: No store is there.
        TrackingError: The store's SQLite file is broken.
    """
    ui = open_ui(place, port=port)
    end = "; Ctrl-C ends it" if ui.process is not None else ""
    progress.say(f"MLflow: open {ui.address} in a browser{end}")
    ui.wait()


def _free_port(first: int) -> int:
    """The first port from the given one on that nobody listens to."""
    for port in range(first, first + 100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if probe.connect_ex((HOST, port)):
                return port
    return first
