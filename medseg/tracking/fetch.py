"""Files of runs that a tracking store holds."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medseg.errors import MissingFileError
from medseg.tracking.address import local_folder, without_credentials
from medseg.tracking.logged_model import NAME
from medseg.tracking.store import connect
from medseg.tracking.ui import find_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MODEL_URI = re.compile(r"(runs|models|mlflow-artifacts):/+[^/]")
_FETCHED: list[TemporaryDirectory[str]] = []
"""Folders of fetched models; they go with the process."""


def is_model_uri(text: str) -> bool:
    """Whether a text names a model that MLflow keeps, such as ``runs:/RUN_ID``."""
    return _MODEL_URI.match(text) is not None


def fetch_model(uri: str, *, tracking_uri: str | None = None) -> Path:
    """The folder of a model that MLflow keeps; a copy stays as long as the process.

    What lies on this machine's disk is used where it is.

    Args:
        uri: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS``, ``models:/MODEL_ID``,
            ``runs:/RUN_ID`` (its model), ``runs:/RUN_ID/folder``, or an artifact's own
            address.
        tracking_uri: See `find_tracking_uri`.

    Raises:
        MissingFileError: There is no store, no such model, or no such run.
    """
    store = find_tracking_uri(tracking_uri)
    client = connect(store)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    folder: TemporaryDirectory[str] = TemporaryDirectory(prefix="medseg_model_")
    try:
        place = _place_of(client, uri)
        if (here := local_folder(place)) is not None and here.is_dir():
            folder.cleanup()
            return here
        found = download_artifacts(
            artifact_uri=place, dst_path=folder.name, tracking_uri=store
        )
    except (MlflowException, OSError) as error:
        folder.cleanup()
        raise MissingFileError(
            f"{uri}: no model of this address in {without_credentials(store)}; a run's "
            "id stands in MLflow's pages (medseg ui) and in its run.log, names and "
            "aliases under Models"
        ) from error
    _FETCHED.append(folder)
    return Path(found)


def _place_of(client: "MlflowClient", uri: str) -> str:
    """Where the files behind an address lie, as this client's store knows it.

    MLflow's own functions would ask the store that is set for the whole process.
    """
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    scheme, _, rest = uri.partition(":")
    if scheme == "models":
        resolve: Any = get_model_name_and_version
        found = resolve(client, uri)
        if len(found) == 1:
            return str(client.get_logged_model(found[0]).artifact_location)
        place = str(client.get_model_version_download_uri(*found))
        return _place_of(client, place) if is_model_uri(place) else place
    if scheme != "runs":
        return uri
    run_id, _, inside = rest.strip("/").partition("/")
    run = client.get_run(run_id)
    name, _, below = (inside or NAME).partition("/")
    for output in reversed(run.outputs.model_outputs if run.outputs else []):
        model = client.get_logged_model(output.model_id)
        if model.name == name:
            return "/".join(filter(None, (model.artifact_location, below)))
    return f"{run.info.artifact_uri}/{inside or NAME}"


def fetch_artifacts(
    run_id: str,
    names: Sequence[str],
    folder: Path,
    *,
    tracking_uri: str,
) -> None:
    """Copies files of a run into a folder, under the same names; absent ones stay out.

    Args:
        run_id: The run's id in MLflow.
        names: Paths of files among the run's artifacts.
        folder: Where they go.
        tracking_uri: The store.

    Raises:
        MissingFileError: There is no such run.
    """
    client = connect(tracking_uri)
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        raise MissingFileError(
            f"{run_id}: neither the folder of a run nor the id of one in "
            f"{without_credentials(tracking_uri)}"
        ) from error
    for name in names:
        parent = str(Path(name).parent.as_posix())
        if name in {entry.path for entry in client.list_artifacts(run_id, parent)}:
            arrived = Path(client.download_artifacts(run_id, name, str(folder)))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(folder / name)


def training_of(
    run_id: str, *, tracking_uri: str
) -> tuple[int | None, int | None, int | None]:
    """Fold, seed and steps of a run, as far as the store knows them.

    Args:
        run_id: The run's id in MLflow.
        tracking_uri: The store.
    """
    run = connect(tracking_uri).get_run(run_id)
    found = [run.data.params.get(name, "") for name in ("fold", "training.seed")]
    fold, seed = (int(text) if text.isdecimal() else None for text in found)
    outputs = run.outputs.model_outputs if run.outputs else []
    return fold, seed, outputs[-1].step if outputs else None


def find_tracking_uri(tracking_uri: str | None = None) -> str:
    """The store that finished runs are in.

    Args:
        tracking_uri: A URI, a database file or a folder of runs; None takes
            MLFLOW_TRACKING_URI, else the SQLite file in ``runs/`` or here.

    Raises:
        MissingFileError: There is none.
    """
    named = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        return find_store(named)
    return find_store("runs" if Path("runs").is_dir() else ".")
