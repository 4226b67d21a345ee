"""Files of runs that a tracking store holds."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from medseg.errors import MissingFileError
from medseg.tracking.address import without_credentials
from medseg.tracking.store import connect
from medseg.tracking.ui import find_store

_MODEL_URI = re.compile(r"(runs|models|mlflow-artifacts):/+[^/]")
_RUN_ALONE = re.compile(r"runs:/+[^/]+/*")
_FETCHED: list[TemporaryDirectory[str]] = []
"""Folders of fetched models; they go with the process."""


def is_model_uri(text: str) -> bool:
    """Whether a text names a model that MLflow keeps, such as ``runs:/RUN_ID``."""
    return _MODEL_URI.match(text) is not None


def fetch_model(uri: str, *, tracking_uri: str | None = None) -> Path:
    """Copies a model that MLflow keeps; its folder stays as long as the process.

    Args:
        uri: ``runs:/RUN_ID`` (its folder ``model``), ``runs:/RUN_ID/folder``,
            ``models:/NAME/VERSION``, or an artifact's own address.
        tracking_uri: See `find_tracking_uri`.

    Raises:
        MissingFileError: There is no store, no such run, or no such folder of it.
    """
    store = find_tracking_uri(tracking_uri)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    whole = f"{uri.rstrip('/')}/model" if _RUN_ALONE.fullmatch(uri) else uri
    folder: TemporaryDirectory[str] = TemporaryDirectory(prefix="medseg_model_")
    try:
        found = download_artifacts(
            artifact_uri=whole, dst_path=folder.name, tracking_uri=store
        )
    except (MlflowException, OSError) as error:
        folder.cleanup()
        raise MissingFileError(
            f"{uri}: no model of this address in {without_credentials(store)}; a run's "
            "id stands in MLflow's pages (medseg ui) and in its run.log"
        ) from error
    _FETCHED.append(folder)
    return Path(found)


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
