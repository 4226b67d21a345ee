"""A real MLflow server on loopback that goes away and comes back."""

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from medseg.tracking import open_mlflow_run, open_ui
from medseg.tracking.store import connect
from medseg.tracking.ui import Ui

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def serve(runs: Path, port: int) -> Ui:
    ui = open_ui(runs, port=port)
    while True:
        try:
            with urllib.request.urlopen(f"{ui.address}/health", timeout=5):
                return ui
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)


def until(condition) -> bool:
    while not condition():
        time.sleep(0.2)
    return True


def test_server_away_and_back(runs, heard, monkeypatch):
    monkeypatch.setattr("medseg.tracking.uploader.RETRY_SECONDS", (0.5,))
    ui = serve(runs, 5611)
    port = int(ui.address.rpartition(":")[2])
    try:
        run = open_mlflow_run(
            tracking_uri=ui.address,
            experiment="remote",
            run_name="one",
            folder=runs / "one",
            progress=heard,
        )
        assert run.run_id is not None
        run.log_metrics({"loss": 1.0}, step=0)
        assert until(lambda: not len(run._queue))
        ui.close()
        run.log_metrics({"loss": 0.5}, step=1)
        (runs / "one" / "notes.txt").write_text("hello")
        run.log_artifact(runs / "one" / "notes.txt")
        assert until(lambda: bool(heard.warnings))
        assert "cannot be reached" in heard.warnings[0]
        ui = serve(runs, port)
        assert until(lambda: bool(heard.said))
        run.log_metrics({"loss": 0.25}, step=2)
        run.finish("FINISHED")
        client = connect(ui.address)
        seen = client.get_run(run.run_id)
        history = client.get_metric_history(run.run_id, "loss")
        assert seen.info.status == "FINISHED"
        assert sorted(p.step for p in history) == [0, 1, 2]
        assert [f.path for f in client.list_artifacts(run.run_id)] == ["notes.txt"]
        assert len(heard.warnings) == 1
    finally:
        ui.close()
