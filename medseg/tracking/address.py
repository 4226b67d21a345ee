"""Where runs are tracked: an SQLite file beside them, or a server the user named."""

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from medseg.errors import SettingsError
from medseg.setting_errors import nearest_name

DATABASE = "mlflow.db"
"""SQLite file that holds the runs of one folder of runs."""

ARTIFACTS = "mlruns"
"""Folder beside it that holds the runs' files."""

SQLITE = "sqlite:///"

_SCHEMES = (
    "http", "https", "file", "sqlite", "postgresql", "mysql", "mssql", "databricks",
    "databricks-uc", "uc",
)  # fmt: skip
"""What MLflow itself understands, drivers such as ``+psycopg2`` left aside."""

_SECRET = re.compile("pass|pwd|token|key|secret|sig|auth|cred|user", re.IGNORECASE)
"""Names of query values that are left out of what is shown."""


def default_tracking_uri(runs: Path) -> str:
    """The store of a folder that holds runs: an SQLite file in that folder."""
    return f"{SQLITE}{(runs.resolve() / DATABASE).as_posix()}"


def resolve_tracking_uri(tracking_uri: str | None, *, folder: Path) -> str:
    """The store to use: the one given, ``MLFLOW_TRACKING_URI``, or the default.

    Args:
        tracking_uri: What the user named, if anything.
        folder: The run's folder; the default store lies beside it.

    Raises:
        SettingsError: MLflow knows no such kind of address.
    """
    named = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        require_tracking_uri(named)
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


def local_folder(artifact_uri: str) -> Path | None:
    """The folder of this machine that an artifact's address means; none elsewhere."""
    scheme, found, rest = artifact_uri.partition(":")
    if not found or len(scheme) == 1:  # a path, or a drive of Windows
        return Path(artifact_uri)
    if scheme.lower() != "file":
        return None
    return Path(url2pathname(urlsplit(f"file:{rest}").path))


def without_credentials(tracking_uri: str) -> str:
    """The URI as it may be shown and stored: no user, password, token or key."""
    scheme, found, rest = tracking_uri.partition("://")
    if not found:
        return tracking_uri
    rest = rest.removeprefix(_user_of(rest))
    address, mark, query = rest.partition("?")
    if scheme.lower() in {"http", "https"}:
        return f"{scheme}://{address}"
    kept = [part for part in query.split("&") if not _is_secret(part)]
    return f"{scheme}://{address}" + (mark + "&".join(kept) if any(kept) else "")


def scrubbed(text: str, tracking_uri: str) -> str:
    """A message without what the URI keeps secret, in whatever form it is repeated."""
    rest = tracking_uri.partition("://")[2]
    user = _user_of(rest)
    text = text.replace(tracking_uri, without_credentials(tracking_uri))
    for part in (user.rpartition("@")[0].partition(":")[2], *_values_of(rest)):
        for form in {part, unquote(part), quote(part, safe="")} - {""}:
            text = text.replace(form, "***")
    return text


def require_tracking_uri(tracking_uri: str) -> None:
    """Refuses an address of a kind that MLflow does not know.

    Raises:
        SettingsError: Its scheme is neither MLflow's nor an installed plug-in's.
    """
    scheme, found, _ = tracking_uri.partition("://")
    known = [*_SCHEMES, *(p.name for p in entry_points(group="mlflow.tracking_store"))]
    if found and scheme.lower().partition("+")[0] not in known:
        raise SettingsError(
            f"tracking.uri: MLflow knows no address that begins with {scheme}://"
            f"{nearest_name(scheme, known)}; known: {', '.join(dict.fromkeys(known))}"
        )


def require_no_credentials(tracking_uri: str) -> None:
    """Refuses an address with a secret in it, which would be stored with the run.

    Raises:
        SettingsError: It holds a user, a password, a token or a key.
    """
    if without_credentials(tracking_uri) != tracking_uri:
        raise SettingsError(
            f"tracking.uri: {without_credentials(tracking_uri)} was given with a user, "
            "password or token, which a configuration must not keep; set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or "
            "MLFLOW_TRACKING_TOKEN), write them to ~/.mlflow/credentials, or give the "
            "whole address in MLFLOW_TRACKING_URI"
        )


def _user_of(rest: str) -> str:
    """What stands before the host, with its ``@``; a password may hold ``/`` and ``?``.

    An ``@`` further back belongs to a path, unless what precedes the path cannot be
    a host, such as ``user:secret``.
    """
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        return host.rpartition("@")[0] + "@"
    port = host.rpartition(":")[2]
    if ":" in host and not host.endswith("]") and not port.isdecimal() and "@" in rest:
        return rest.rpartition("@")[0] + "@"
    return ""


def _values_of(rest: str) -> list[str]:
    parts = rest.partition("?")[2].split("&")
    return [part.partition("=")[2] or part for part in parts]


def _is_secret(part: str) -> bool:
    """Whether a part of a query seems to hold a secret."""
    return bool(_SECRET.search(part.partition("=")[0]))
