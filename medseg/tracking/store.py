"""The MLflow side: finds or creates the run, and writes entries into it."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from medseg.tracking.address import artifact_location, database_file
from medseg.tracking.journal import Entry, RunState, now_ms, read_state
from medseg.tracking.params import clean_name, clean_value

if TYPE_CHECKING:
    from mlflow import MlflowClient

TOKEN_TAG = "medseg.token"
PARENT_TAG = "mlflow.parentRunId"

METRICS_PER_CALL = 1000
SETTINGS_PER_CALL = 100

PATIENCE = 300.0
"""Seconds to wait for another process that opens the same SQLite file."""

PERMANENT = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "MALFORMED_REQUEST",
        "RESOURCE_DOES_NOT_EXIST",
    }
)
"""MLflow's error codes for requests that will be refused again."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""No messages to MLflow's makers; and a server that is away is found out in seconds,
where MLflow by default waits minutes. MLflow reads these from nowhere else."""


class RefusedError(Exception):
    """The store will never take this; asking again is of no use."""


def connect(tracking_uri: str) -> "MlflowClient":
    """A client of a store; imports MLflow, which takes seconds.

    What the user set in the environment stays. An SQLite file is opened by one process
    at a time: MLflow makes its tables in steps, and two that make them at once leave a
    file that neither can use.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with _alone(database_file(tracking_uri)):
        return MlflowClient(tracking_uri=tracking_uri)


def _alone(database: Path | None) -> AbstractContextManager[object]:
    """Keeps other processes from opening an SQLite file; nothing for servers."""
    if database is None or not os.access(database.parent, os.W_OK):
        return nullcontext()
    return FileLock(database.with_name(f".{database.name}.lock"), timeout=PATIENCE)


def is_permanent(error: Exception) -> bool:
    """Whether a store's error will come again however often one asks."""
    if isinstance(error, (RefusedError, FileNotFoundError)):
        return True
    return getattr(error, "error_code", None) in PERMANENT


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
    return str(run.info.run_id)


def _revive(client: "MlflowClient", run_id: str) -> bool:
    """Whether the store knows the run; it can be written to afterwards."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
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
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process may have been faster
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    return str(known.experiment_id)


def deliver(
    client: "MlflowClient", run_id: str, entries: list[Entry], *, file: Path | None
) -> None:
    """Writes entries of one kind into a run; writing them again changes nothing.

    Args:
        client: Of the store that holds the run.
        run_id: The run.
        entries: All of the same kind; more than one only for metrics.
        file: The file or folder of an artifact entry.

    Raises:
        RefusedError: The store takes part of it never.
    """
    kind, first = entries[0]["kind"], entries[0]
    if kind == "metrics":
        _send_metrics(client, run_id, entries)
    elif kind == "params":
        _send_params(client, run_id, first["values"])
    elif kind == "tags":
        _send_tags(client, run_id, first["values"])
    elif kind == "artifact":
        assert file is not None
        _send_file(client, run_id, file, folder=first["folder"])
    elif first["value"] == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    else:
        client.set_terminated(run_id, first["value"], end_time=first["time"])


def _send_metrics(client: "MlflowClient", run_id: str, entries: list[Entry]) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(clean_name(key), value, entry["time"], entry["step"])
        for entry in entries
        for key, value in entry["values"].items()
    ]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_CALL])


def _send_params(client: "MlflowClient", run_id: str, values: dict[str, Any]) -> None:
    """New parameters; those that differ on a resumed run become tags.

    MLflow never changes a parameter, yet a run may be resumed with a longer budget.
    """
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    wanted = {clean_name(key): clean_value(value) for key, value in values.items()}
    new = [Param(key, value) for key, value in wanted.items() if key not in known]
    for start in range(0, len(new), SETTINGS_PER_CALL):
        client.log_batch(run_id, params=new[start : start + SETTINGS_PER_CALL])
    changed = {k: v for k, v in wanted.items() if k in known and known[k] != v}
    _send_tags(client, run_id, {f"changed.{key}": v for key, v in changed.items()})


def _send_tags(client: "MlflowClient", run_id: str, values: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(clean_name(k), clean_value(v)) for k, v in values.items()]
    for start in range(0, len(tags), SETTINGS_PER_CALL):
        client.log_batch(run_id, tags=tags[start : start + SETTINGS_PER_CALL])


def _send_file(client: "MlflowClient", run_id: str, file: Path, *, folder: str) -> None:
    if not file.exists():
        raise RefusedError(f"{file}: no longer there")
    if file.is_dir():
        client.log_artifacts(run_id, str(file), folder or file.name)
    else:
        client.log_artifact(run_id, str(file), folder or None)


def next_group(entries: list[Entry]) -> list[Entry]:
    """The first entries that can be written in one call."""
    group = entries[:1]
    if not group or group[0]["kind"] != "metrics":
        return group
    count = 0
    for length, entry in enumerate(entries):
        count += len(entry["values"]) if entry["kind"] == "metrics" else 0
        if entry["kind"] != "metrics" or (length and count > METRICS_PER_CALL):
            return entries[:length]
    return entries


def status_entry(status: str) -> Entry:
    """The values of a status entry, which says what a run is doing from now on."""
    return {"value": status, "time": now_ms()}
