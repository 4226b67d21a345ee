"""Files of runs that a tracking store holds."""

import os
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import MissingFileError
from medseg.tracking.address import without_credentials
from medseg.tracking.store import connect
from medseg.tracking.ui import find_store


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
