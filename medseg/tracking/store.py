"""Opens a store, and finds or creates a run in it."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from medseg.tracking.address import artifact_location, database_file
from medseg.tracking.database import broken, fault_of, is_missing, make_database
from medseg.tracking.delivery import UnconfirmedError, read_run
from medseg.tracking.offline_queue import Entry, RunState, now_ms, read_state
from medseg.tracking.runs_table import experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

TOKEN_TAG = "medseg.token"
PARENT_TAG = "mlflow.parentRunId"

PATIENCE = 300.0
"""Seconds to wait for another process that opens the same SQLite file."""

ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""A server that is away is found out in seconds, where MLflow by default waits minutes.
MLflow reads these from nowhere else."""


def connect(tracking_uri: str) -> "MlflowClient":
    """A client of a store; imports MLflow, which takes seconds.

    What the user set in the environment stays. An SQLite file is made and opened by one
    process at a time.

    Raises:
        TrackingError: The SQLite file is broken.
        OutputError: It cannot be made.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    database = database_file(tracking_uri)
    if database is None:
        return MlflowClient(tracking_uri=tracking_uri)
    with _alone(database):
        if is_missing(database):
            make_database(database)
        try:
            return MlflowClient(tracking_uri=tracking_uri)
        except Exception as error:
            if fault := fault_of(database):
                raise broken(database, fault) from error
            raise


def _alone(database: Path) -> AbstractContextManager[object]:
    """Keeps other processes from opening an SQLite file."""
    with suppress(OSError):
        database.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(database.parent, os.W_OK):
        return nullcontext()
    return FileLock(database.with_name(f".{database.name}.lock"), timeout=PATIENCE)


def ensure_run(client: "MlflowClient", state: RunState, *, tracking_uri: str) -> str:
    """The id of the run that the state describes; created where it is missing.

    A run whose creation was answered by silence is found again by its token, and a
    run that was deleted meanwhile is restored.
    """
    if state.run_id is not None and _revive(client, state.run_id):
        return state.run_id
    experiment_id = _ensure_experiment(client, state.experiment, tracking_uri)
    found = client.search_runs(
        [experiment_id], filter_string=f"tags.`{TOKEN_TAG}` = '{state.token}'"
    )
    tags = {TOKEN_TAG: state.token}
    if parent := _parent_of(state):
        tags[PARENT_TAG] = parent
    run = (
        found[0]
        if found
        else client.create_run(
            experiment_id,
            start_time=state.started_ms,
            run_name=state.run_name,
            tags=tags,
        )
    )
    run_id = str(run.info.run_id)
    read_run(client, run_id)
    return run_id


def _revive(client: "MlflowClient", run_id: str) -> bool:
    """Whether the store knows the run; it can be written to afterwards."""
    from mlflow.exceptions import MlflowException

    try:
        run = read_run(client, run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if run.info.lifecycle_stage == "deleted":
        client.restore_run(run_id)
    return True


def _parent_of(state: RunState) -> str | None:
    if state.parent_run_id or state.parent_folder is None:
        return state.parent_run_id
    parent = read_state(Path(state.parent_folder))
    return None if parent is None else parent.run_id


def _ensure_experiment(client: "MlflowClient", name: str, tracking_uri: str) -> str:
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            location = artifact_location(tracking_uri)
            return _known(
                client.create_experiment(
                    name, artifact_location=location, tags=experiment_tags()
                )
            )
        except MlflowException:  # another process may have been faster
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    return _known(known.experiment_id)


def _known(experiment_id: object) -> str:
    """The id of an experiment.

    Raises:
        UnconfirmedError: The answer held none.
    """
    if not experiment_id:
        raise UnconfirmedError("it does not answer as MLflow does")
    return str(experiment_id)


def status_entry(status: str) -> Entry:
    """A status entry, such as running or finished."""
    return {"value": status, "time": now_ms()}
