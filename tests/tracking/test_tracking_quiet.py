"""No network with the embedded store, and no MLflow before it is needed."""

import os
import subprocess
import sys
from pathlib import Path

OFFLINE = """
import socket, sys
from pathlib import Path

calls = []
def refuse(*arguments, **named):
    calls.append(arguments)
    raise OSError("no network in this test")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse

from medseg.tracking import open_mlflow_run
run = open_mlflow_run(
    tracking_uri=None, experiment="e", run_name="r", folder=Path(sys.argv[1])
)
run.log_metrics({"loss": 1.0}, step=0)
run.finish("FINISHED")
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
assert run.run_id
assert not calls, calls
"""

CI_SIGNS = ("PYTEST_", "CI", "GITHUB_", "JENKINS_", "TF_BUILD", "MLFLOW", "DO_NOT")
"""MLflow holds back by itself where it sees these; the test must not rely on it."""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(CI_SIGNS)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )


def test_embedded_store_makes_no_network_call(runs: Path):
    done = run_python(OFFLINE, str(runs / "one"))
    assert done.returncode == 0, done.stderr


def test_mlflow_is_not_imported_before_a_run_opens():
    code = "import sys, medseg.tracking; sys.exit('mlflow' in sys.modules)"
    assert run_python(code).returncode == 0
