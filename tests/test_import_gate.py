"""What training and prediction need on a bare machine."""

import subprocess
import sys
from pathlib import Path

import import_gate


def test_training_and_prediction_need_few_packages(tmp_path: Path) -> None:
    command = [sys.executable, import_gate.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_gate_is_closed_to_the_rest() -> None:
    closed = import_gate.closed_modules()
    assert {"matplotlib", "mlflow", "monai", "SimpleITK", "skimage"} <= closed
    assert not {"torch", "numpy", "nibabel", "yaml", "dateutil", "jinja2"} & closed
