"""A fresh MLflow database per test, copied from one made once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.progress import Silent
from medseg.tracking import MlflowRun, default_tracking_uri, open_mlflow_run
from medseg.tracking.store import connect


class Heard(Silent):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    connect(default_tracking_uri(folder)).get_experiment_by_name("any")
    return folder / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, empty_store: Path, monkeypatch) -> Path:
    """A folder of runs with an empty store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def client(runs: Path):
    """MLflow's own client, to see what arrived."""
    return connect(default_tracking_uri(runs))


@pytest.fixture
def start(runs: Path, heard: Heard) -> Callable[..., MlflowRun]:
    """Opens a run named ``one`` in a folder of that name, unless told otherwise."""

    def start_run(name: str = "one", **arguments) -> MlflowRun:
        defaults = {"tracking_uri": None, "experiment": "hippocampus"}
        return open_mlflow_run(
            **{**defaults, **arguments},
            run_name=name,
            folder=runs / name,
            progress=heard,
        )

    return start_run
