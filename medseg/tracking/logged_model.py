"""Model folders as MLflow's logged models, which a registry and a server can take.

A server before MLflow 3 keeps no models; there, and in plug-ins of other stores, the
folder becomes files of the run, as in earlier versions.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medseg.tracking.address import local_folder
from medseg.tracking.mlmodel import write_mlmodel
from medseg.tracking.offline_queue import Entry
from medseg.tracking.params import clean_name, clean_value

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

NAME = "model"
"""What a run's model is called: ``runs:/RUN_ID/model`` finds it."""

TOKEN_TAG = "medseg.token"

UNKNOWN_HERE = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED"})
"""MLflow's error codes of stores that keep no models."""

LINK_FROM = 1_000_000
"""Bytes from which a file becomes a link where it can, so that it is on disk once."""


def send_model(
    client: "MlflowClient", run: "Run", folder: Path, entry: Entry
) -> str | None:
    """Keeps a model folder; doing so again changes nothing.

    Args:
        client: Of the store that holds the run.
        run: The run, as the store holds it.
        folder: The model folder.
        entry: Of the queue.

    Returns:
        How the store names the model; None where it keeps the files only.
    """
    model = _found_or_created(client, run, entry)
    run_id = str(run.info.run_id)
    with TemporaryDirectory(prefix="medseg_mlmodel_") as scratch:
        write_mlmodel(
            Path(scratch),
            channels=entry["channels"],
            labels=entry["labels"],
            run_id=run_id,
            model_id=None if model is None else model.model_id,
        )
        if model is None:
            for part in (folder, scratch):
                client.log_artifacts(run_id, str(part), NAME)
            return None
        _send_files(client, model, folder)
        _send_files(client, model, Path(scratch))
    client.finalize_logged_model(model.model_id, "READY")
    if model.model_id not in _outputs(run):
        from mlflow.entities import LoggedModelOutput

        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, entry["step"])])
    return str(model.model_id)


def _found_or_created(
    client: "MlflowClient", run: "Run", entry: Entry
) -> "LoggedModel | None":
    """The model of an entry; None where the store keeps none."""
    from mlflow.exceptions import MlflowException

    token, experiment = entry["token"], run.info.experiment_id
    try:
        found = client.search_logged_models(
            [experiment], filter_string=f"tags.`{TOKEN_TAG}` = '{token}'"
        )
        if found:
            return found[0]
        params = entry["params"].items()
        return client.create_logged_model(
            experiment,
            name=NAME,
            source_run_id=run.info.run_id,
            tags={TOKEN_TAG: token},
            params={clean_name(key): clean_value(value) for key, value in params},
            model_type="segmentation",
        )
    except NotImplementedError:
        return None
    except MlflowException as error:
        if error.error_code in UNKNOWN_HERE:
            return None
        raise


def _outputs(run: "Run") -> set[str]:
    outputs = getattr(run, "outputs", None)
    return {model.model_id for model in outputs.model_outputs} if outputs else set()


def _send_files(client: "MlflowClient", model: "LoggedModel", folder: Path) -> None:
    """Uploads what a folder holds; on this machine's disk large files become links."""
    place = local_folder(model.artifact_location)
    if place is None:
        client.log_model_artifacts(model.model_id, str(folder))
        return
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        inside = file.relative_to(folder)
        if not _linked(file, place / inside):
            parent = inside.parent.as_posix()
            client.log_model_artifact(
                model.model_id, str(file), None if parent == "." else parent
            )


def _linked(file: Path, target: Path) -> bool:
    """Whether a large file got a second name, which replaces what had it.

    Nothing writes into a file of a model folder: new weights are a new file.
    """
    if file.stat().st_size < LINK_FROM:
        return False
    aside = target.with_name(f".{file.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        os.link(file, aside)
        aside.replace(target)
    except OSError:  # another disk, or one that knows no links
        return False
    return True
