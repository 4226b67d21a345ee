"""Entries written into a run, and read back: an answer alone proves nothing.

Something that is no MLflow, such as a proxy's page, may answer any request with an
empty object, which MLflow's client takes for a success.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from medseg.tables import read_frame
from medseg.tracking.logged_model import UNKNOWN_HERE, send_model
from medseg.tracking.offline_queue import Entry
from medseg.tracking.params import clean_name, clean_value

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, Run, RunTag

RECEIPT = "medseg.received"
"""Tag that travels with each batch: where it is read back, the batch arrived."""

TABLES_TAG = "mlflow.loggedArtifacts"
"""Tag by which MLflow's pages find tables among a run's files."""

METRICS_PER_CALL = 999
SETTINGS_PER_CALL = 99
"""MLflow takes 1000 entries in a call, of which 100 tags; one is the receipt."""

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

THROUGH_THE_SERVER = ("mlflow-artifacts:", "http:", "https:")
"""Places of files that MLflow's own server keeps; others confirm what they take."""


class RefusedEntryError(Exception):
    """The store will never take this; asking again is of no use."""


class UnconfirmedError(Exception):
    """The store answered, yet does not hold what it was given."""


def is_permanent(error: Exception) -> bool:
    """Whether a store's error will come again however often one asks."""
    if isinstance(error, (RefusedEntryError, FileNotFoundError)):
        return True
    return getattr(error, "error_code", None) in PERMANENT


def read_run(client: "MlflowClient", run_id: str) -> "Run":
    """The run as the store holds it.

    Raises:
        UnconfirmedError: The answer is about no run, as where something that is no
            MLflow answers ``{}``.
    """
    run = client.get_run(run_id)
    if not run_id or run.info.run_id != run_id:
        raise UnconfirmedError("it does not answer as MLflow does")
    return run


def deliver(
    client: "MlflowClient",
    run_id: str,
    entries: list[Entry],
    *,
    file: Path | None,
    model_id: str | None = None,
) -> str | None:
    """Writes entries of one kind into a run; writing them again changes nothing.

    Args:
        client: Of the store that holds the run.
        run_id: The run.
        entries: All of the same kind; more than one only for metrics.
        file: The file or folder of an entry that has one.
        model_id: The run's model, whose scores are linked with it.

    Returns:
        The run's model afterwards.

    Raises:
        RefusedEntryError: The store takes part of it never.
        UnconfirmedError: The store answered, and does not hold it.
    """
    kind, first = entries[0]["kind"], entries[0]
    number = str(entries[-1]["n"])
    if kind == "metrics":
        _send_metrics(client, run_id, entries, number=number, model_id=model_id)
    elif kind == "params":
        _send_params(client, run_id, first["values"], number=number)
    elif kind == "tags":
        _send_tags(client, run_id, first["values"], number=number)
    elif kind == "artifact":
        assert file is not None
        _send_file(client, run_id, file, folder=first["folder"])
    elif kind == "model":
        assert file is not None
        return _send_model(client, run_id, file, first)
    elif kind == "table":
        assert file is not None
        _send_table(client, run_id, file, number=number)
    elif kind == "dataset":
        _send_dataset(client, run_id, first)
    else:
        _send_status(client, run_id, first)
    return model_id


def _send_metrics(
    client: "MlflowClient",
    run_id: str,
    entries: list[Entry],
    *,
    number: str,
    model_id: str | None,
) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(clean_name(key), value, entry["time"], entry["step"], **link)
        for entry in entries
        for link in [_link_of(entry, model_id)]
        for key, value in entry["values"].items()
    ]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        part = metrics[start : start + METRICS_PER_CALL]
        _send_batch(client, run_id, receipt=f"{number}-{start}", metrics=part)


def _link_of(entry: Entry, model_id: str | None) -> dict[str, str]:
    """What the metrics of an entry are about, besides the run."""
    if "dataset" not in entry:
        return {}
    name, digest = entry["dataset"]
    link = {"dataset_name": name, "dataset_digest": digest}
    return link if model_id is None else {**link, "model_id": model_id}


def _send_params(
    client: "MlflowClient", run_id: str, values: dict[str, Any], *, number: str
) -> None:
    """New parameters; those that differ on a resumed run become tags.

    MLflow never changes a parameter, yet a run may be resumed with a longer budget.
    """
    from mlflow.entities import Param

    known = read_run(client, run_id).data.params
    wanted = {clean_name(key): clean_value(value) for key, value in values.items()}
    new = [Param(key, value) for key, value in wanted.items() if key not in known]
    for start in range(0, len(new), SETTINGS_PER_CALL):
        part = new[start : start + SETTINGS_PER_CALL]
        _send_batch(client, run_id, receipt=f"{number}-{start}", params=part)
    changed = {k: v for k, v in wanted.items() if k in known and known[k] != v}
    renamed = {f"changed.{key}": value for key, value in changed.items()}
    _send_tags(client, run_id, renamed, number=f"{number}-changed")


def _send_tags(
    client: "MlflowClient", run_id: str, values: dict[str, str], *, number: str
) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(clean_name(k), clean_value(v)) for k, v in values.items()]
    for start in range(0, len(tags), SETTINGS_PER_CALL):
        part = tags[start : start + SETTINGS_PER_CALL]
        _send_batch(client, run_id, receipt=f"{number}-{start}", tags=part)


def _send_batch(
    client: "MlflowClient",
    run_id: str,
    *,
    receipt: str,
    metrics: Sequence["Metric"] = (),
    params: Sequence["Param"] = (),
    tags: Sequence["RunTag"] = (),
) -> None:
    """Writes one batch, with a receipt that is looked for afterwards.

    Raises:
        UnconfirmedError: It is not there.
    """
    from mlflow.entities import RunTag

    signed = [*tags, RunTag(RECEIPT, receipt)]
    client.log_batch(run_id, metrics=metrics, params=params, tags=signed)
    if read_run(client, run_id).data.tags.get(RECEIPT) != receipt:
        raise UnconfirmedError("it took what was sent and does not hold it")


def _send_status(client: "MlflowClient", run_id: str, entry: Entry) -> None:
    status = entry["value"]
    if status == "RUNNING":
        client.update_run(run_id, status=status)
    else:
        client.set_terminated(run_id, status, end_time=entry["time"])
    if read_run(client, run_id).info.status != status:
        raise UnconfirmedError("it took what was sent and does not hold it")


def _send_dataset(client: "MlflowClient", run_id: str, entry: Entry) -> None:
    """The cases that a run used; their source names no place and no case."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    counts = {"num_cases": entry["num_cases"], "num_patients": entry["num_patients"]}
    dataset = Dataset(
        name=entry["name"],
        digest=entry["digest"],
        source_type="code",
        source=json.dumps({"tags": {"manifest_sha256": entry["manifest"]}}),
        profile=json.dumps(counts),
    )
    role = InputTag("mlflow.data.context", entry["role"])
    client.log_inputs(run_id, [DatasetInput(dataset, [role])])


def _send_table(
    client: "MlflowClient", run_id: str, file: Path, *, number: str
) -> None:
    """A CSV file as MLflow's ``log_table`` keeps tables, which adds to what is there.

    Sent twice, the table is there once.
    """
    if not file.exists():
        raise RefusedEntryError(f"{file}: no longer there")
    name = f"{file.stem}.json"
    text = read_frame(file).to_json(orient="split", index=False)
    client.log_text(run_id, text, name)
    kept = read_run(client, run_id).data.tags.get(TABLES_TAG, "[]")
    tables = [*json.loads(kept), {"path": name, "type": "table"}]
    distinct = list({table["path"]: table for table in tables}.values())
    _send_tags(client, run_id, {TABLES_TAG: json.dumps(distinct)}, number=number)


def _send_model(
    client: "MlflowClient", run_id: str, folder: Path, entry: Entry
) -> str | None:
    if not folder.is_dir():
        raise RefusedEntryError(f"{folder}: no longer there")
    return send_model(client, read_run(client, run_id), folder, entry)


def _send_file(client: "MlflowClient", run_id: str, file: Path, *, folder: str) -> None:
    if not file.exists():
        raise RefusedEntryError(f"{file}: no longer there")
    if file.is_dir():
        target = PurePosixPath(folder or file.name)
        client.log_artifacts(run_id, str(file), str(target))
        sent = {
            target / path.relative_to(file).as_posix(): path.stat().st_size
            for path in file.rglob("*")
            if path.is_file()
        }
    else:
        client.log_artifact(run_id, str(file), folder or None)
        sent = {PurePosixPath(folder) / file.name: file.stat().st_size}
    place = read_run(client, run_id).info.artifact_uri or ""
    if place.startswith(THROUGH_THE_SERVER):
        _confirm_files(client, run_id, sent)


def _confirm_files(
    client: "MlflowClient", run_id: str, sent: dict[PurePosixPath, int]
) -> None:
    """Looks for files that went through the server, by name and size.

    Raises:
        UnconfirmedError: One is not there.
    """
    from mlflow.exceptions import MlflowException

    for folder in {path.parent for path in sent}:
        try:
            listed = client.list_artifacts(run_id, str(folder) if folder.name else None)
        except MlflowException as error:
            if error.error_code in UNKNOWN_HERE:  # MLflow 3 asks older servers too much
                continue
            raise
        held = {PurePosixPath(entry.path): entry.file_size for entry in listed}
        for path, size in sent.items():
            if path.parent == folder and held.get(path, -1) not in (size, None):
                raise UnconfirmedError(f"it took {path.name} and does not hold it")


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
