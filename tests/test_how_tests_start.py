"""The suite gives the same answer however it was started and however busy it is."""

import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]
STOPPING = "tests/training/test_training_parts.py::test_stop_file_and_signal_end_a_run"
DEAF = """
import os, signal, sys
signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
for number in signals:
    signal.signal(number, signal.SIG_IGN)
if sys.argv[1] == "blocked":
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_signals_work_where_the_caller_silenced_them(how: str) -> None:
    call = ["-m", "pytest", "-q", "-p", "no:cacheprovider", STOPPING]
    command = [sys.executable, "-c", DEAF, how, *call]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "1 passed" in done.stdout


def test_properties_have_no_time_limit() -> None:
    assert hypothesis.settings.default.deadline is None
    assert hypothesis.HealthCheck.too_slow in (
        hypothesis.settings.default.suppress_health_check
    )
