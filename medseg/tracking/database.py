"""The SQLite file of a folder of runs: made whole or not at all, and looked over.

MLflow makes its tables in some sixty steps. A call that is ended on the way would leave
a file that no later call can use, so the tables are made in a file aside, which gets
its name when all are there.
"""

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from medseg.errors import TrackingError
from medseg.files import atomic_write
from medseg.tracking.address import ARTIFACTS, SQLITE

COMPANIONS = ("-journal", "-wal", "-shm")
"""What SQLite adds to a file's name for files of its own beside it."""


def is_missing(database: Path) -> bool:
    """Whether there is no database yet; an empty file is none."""
    return not database.exists() or database.stat().st_size == 0


def make_database(database: Path) -> None:
    """Makes MLflow's tables; to be called by one process at a time.

    Raises:
        OutputError: The folder cannot be written.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left in database.parent.glob(f".????????.part.{database.name}*"):
        with suppress(OSError):
            left.unlink()
    artifacts = (database.parent / ARTIFACTS).as_uri()
    with atomic_write(database) as temporary:
        uri = f"{SQLITE}{temporary.as_posix()}"
        store = SqlAlchemyStore(uri, artifacts)  # type: ignore[no-untyped-call]
        forget: Any = store.delete_experiment
        forget("0")  # its empty "Default"
        store.engine.dispose()


def fault_of(database: Path) -> str | None:
    """Why MLflow cannot use a file, in words; None where it is not the file's fault."""
    try:
        with closing(sqlite3.connect(_read_only(database), uri=True)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                return f"it is damaged ({verdict})"
            present = {
                row[0]
                for row in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
            }
    except sqlite3.OperationalError:  # locked, or no right to read it
        return None
    except sqlite3.DatabaseError as error:
        return f"it is damaged ({error})"
    if missing := _expected_tables() - present:
        return (
            f"{len(missing)} of its tables are missing, as where a call was ended "
            "while it made them"
        )
    return None


def broken(database: Path, fault: str) -> TrackingError:
    """The error that says so, and what helps."""
    count = _num_runs(database)
    held = {None: "", 0: "; it holds no run"}.get(count, f"; it holds {count} runs")
    return TrackingError(
        f"{database}: {fault}{held}; put a copy of yours back, or run `medseg ui "
        f"{database.parent} --replace-broken`, which keeps this file under another "
        "name, makes a new one and sends what waits in the folders of the runs"
    )


def set_aside(database: Path, *, tracking_uri: str) -> Path:
    """Gives a database another name, which is returned; nothing is deleted."""
    _let_go(tracking_uri)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = database.with_name(f"{database.name}.broken-{stamp}")
    for companion in COMPANIONS:
        file = database.with_name(database.name + companion)
        if file.exists():
            file.replace(aside.with_name(aside.name + companion))
    return database.replace(aside)


def _let_go(tracking_uri: str) -> None:
    """Closes what MLflow holds open: it keeps an engine for each URI ever tried."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engines = getattr(SqlAlchemyStore, "_engine_map", {})
    if engine := engines.pop(tracking_uri, None):
        engine.dispose()


def _read_only(database: Path) -> str:
    return f"{database.resolve().as_uri()}?mode=ro"


def _expected_tables() -> set[str]:
    """Tables of the MLflow that is installed."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # declares them
    from mlflow.store.db.base_sql_model import Base

    return set(Base.metadata.tables)


def _num_runs(database: Path) -> int | None:
    """Number of runs in a database; None where it cannot be read."""
    try:
        with closing(sqlite3.connect(_read_only(database), uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.Error:
        return None
