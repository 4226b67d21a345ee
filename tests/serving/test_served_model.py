"""`mlflow models serve` answers what `medseg predict` gives, by path and by content."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import medseg

from medseg.io import read_label_map
from medseg.tracking import default_tracking_uri, open_mlflow_run
from medseg.training.logger import TrackedModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def served(address: str, store: str, folder: Path) -> Iterator[str]:
    """The address of a server of MLflow's own, as the documentation starts it."""
    port = free_port()
    programs = Path(sys.executable).parent  # as an activated environment has them
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    tracking = {"MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", address]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "-p", str(port)],
            env=os.environ | tracking | {"PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            for _ in range(3000):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").close()
                    break
                except urllib.error.URLError:
                    assert process.poll() is None, (folder / "server.log").read_text()
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def ask(address: str, **content: Any) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        address,
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return list(json.load(answer)["predictions"])


def test_a_path_and_a_file_in_base64_give_what_predict_gives(
    bright_model: Path, tiny_study: Path, tmp_path: Path
) -> None:
    store = default_tracking_uri(tmp_path / "runs")
    with open_mlflow_run(
        tracking_uri=store, experiment="e", run_name="r", folder=tmp_path / "runs/r"
    ) as run:
        about = TrackedModel(("synthetic0",), {"ball": 1, "kernel": 2}, 1)
        run.log_model(bright_model, about)
    scan = tiny_study / "imagesTr" / "tiny_000.nii.gz"
    own = medseg("predict", bright_model, scan, "-o", tmp_path / "own")
    assert own.returncode == 0, own.stderr
    wanted = read_label_map(tmp_path / "own" / scan.name)
    assert wanted.voxels.any()
    with served(f"runs:/{run.run_id}/model", store, tmp_path) as address:
        out = {"output_folder": str(tmp_path / "out")}
        (row,) = ask(address, dataframe_records=[{"image": str(scan)}], params=out)
        assert row["label_map"] == str(tmp_path / "out" / scan.name)
        given = base64.b64encode(scan.read_bytes()).decode()
        asked = [{"image": given}, {"image": "/nowhere.nii"}]
        inside, wrong = ask(address, dataframe_records=asked)
    assert (tmp_path / "out" / scan.name).read_bytes() == (
        tmp_path / "own" / scan.name
    ).read_bytes()
    (tmp_path / "answer.nii.gz").write_bytes(base64.b64decode(inside["label_map"]))
    found = read_label_map(tmp_path / "answer.nii.gz")
    np.testing.assert_array_equal(found.voxels, wanted.voxels)
    np.testing.assert_allclose(found.affine, wanted.affine)
    assert (inside["status"], inside["reason"]) == ("done", "")
    assert "plausibility" in inside
    assert (wrong["status"], wrong["label_map"]) == ("failed", None)
    assert "no such" in wrong["reason"]
