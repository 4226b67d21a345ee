"""Where runs are tracked: an SQLite file beside them, or a server the user named."""

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

DATABASE = "mlflow.db"
"""SQLite file that holds the runs of one folder of runs."""

ARTIFACTS = "mlruns"
"""Folder beside it that holds the runs' files."""

SQLITE = "sqlite:///"


def default_tracking_uri(runs: Path) -> str:
    """The store of a folder that holds runs: an SQLite file in that folder."""
    return f"{SQLITE}{(runs.resolve() / DATABASE).as_posix()}"


def resolve_tracking_uri(tracking_uri: str | None, *, folder: Path) -> str:
    """The store to use: the one given, ``MLFLOW_TRACKING_URI``, or the default.

    Args:
        tracking_uri: What the user named, if anything.
        folder: The run's folder; the default store lies beside it.
    """
    named = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    return named or default_tracking_uri(folder.resolve().parent)


def database_file(tracking_uri: str) -> Path | None:
    """The SQLite file of a store; none for servers and other databases."""
    if not tracking_uri.startswith(SQLITE):
        return None
    return Path(tracking_uri.removeprefix(SQLITE).split("?")[0]).resolve()


def artifact_location(tracking_uri: str) -> str | None:
    """Where a new experiment keeps its files; none leaves it to the server.

    MLflow's own default is a folder in whatever directory the process started in.
    """
    database = database_file(tracking_uri)
    return None if database is None else (database.parent / ARTIFACTS).as_uri()


def without_credentials(tracking_uri: str) -> str:
    """The URI as it may be shown and stored: no user name, no password."""
    parts = urlsplit(tracking_uri)
    if "@" not in parts.netloc:
        return tracking_uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
