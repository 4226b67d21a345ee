"""The SQLite file: whole or absent, and a broken one said and replaced."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import default_tracking_uri, replace_broken
from medseg.tracking.database import fault_of
from medseg.tracking.store import connect


def half_made(database: Path) -> None:
    """As a call that was killed while it made the tables left it."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("DROP TABLE webhooks")
        connection.commit()


def cut(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def overwritten(database: Path) -> None:
    database.write_bytes(b"no database at all\n" * 200)


FAULTS = {half_made: "tables are missing", cut: "damaged", overwritten: "damaged"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_store_is_said_and_the_run_goes_on(fault, start, runs, heard):
    fault(runs / "mlflow.db")
    run = start()
    run.log_metrics({"loss": 1.0}, step=0)
    run.finish("FINISHED")
    assert FAULTS[fault] in heard.warnings[0]
    assert "--replace-broken" in heard.warnings[0]
    assert (runs / "one" / "tracking" / "journal.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_store_is_replaced_and_what_waits_is_sent(fault, start, runs, heard):
    fault(runs / "mlflow.db")
    before = (runs / "mlflow.db").read_bytes()
    run = start()
    run.log_metrics({"loss": 1.0}, step=0)
    run.finish("FINISHED")
    replace_broken(runs, progress=heard)
    (kept,) = runs.glob("mlflow.db.broken-*")
    assert kept.read_bytes() == before
    client = connect(default_tracking_uri(runs))
    experiment = client.get_experiment_by_name("hippocampus")
    (seen,) = client.search_runs([experiment.experiment_id])
    assert (seen.info.status, seen.data.metrics) == ("FINISHED", {"loss": 1.0})


def test_a_store_that_works_is_not_replaced(start, runs, client, heard):
    run = start()
    run.finish("FINISHED")
    replace_broken(runs, progress=heard)
    assert not list(runs.glob("mlflow.db.broken-*"))
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_the_number_of_runs_is_said(start, runs):
    start().finish("FINISHED")
    shutil.copy(runs / "mlflow.db", runs / "other.db")  # which MLflow has not met yet
    half_made(runs / "other.db")
    with pytest.raises(TrackingError, match="it holds 1 runs"):
        connect(f"sqlite:///{runs / 'other.db'}")


def test_a_locked_store_is_not_called_broken(runs):
    with closing(sqlite3.connect(runs / "mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert fault_of(runs / "mlflow.db") is None


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from medseg.tracking.database import fault_of
from medseg.tracking.store import connect

def count(*_, left=[int(sys.argv[2])]):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))

event.listen(Engine, "before_cursor_execute", count)
connect(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("statement", "how"),
    [(40, "SIGKILL"), pytest.param(150, "SIGINT", marks=pytest.mark.slow)],
)
def test_ended_while_the_tables_are_made(tmp_path: Path, statement: int, how: str):
    """Ended before some statement, whatever the clock says; then all goes well."""
    uri = default_tracking_uri(tmp_path)
    command = [sys.executable, "-c", KILLED, uri, str(statement), how]
    assert subprocess.run(command, capture_output=True).returncode != 0
    assert not (tmp_path / "mlflow.db").exists()
    assert connect(uri).search_experiments() == []
    assert not list(tmp_path.glob(".*.part.*"))
