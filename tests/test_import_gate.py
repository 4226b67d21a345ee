"""What training and prediction need on a bare machine."""

import subprocess
import sys
from pathlib import Path

import import_gate


def test_training_and_prediction_need_few_packages(tmp_path: Path) -> None:
    command = [sys.executable, import_gate.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_tests_that_want_a_gpu_are_found_there() -> None:
    """One import too many, and a machine with a GPU would run none of them."""
    command = [sys.executable, import_gate.__file__, "--collect"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    found = [line for line in done.stdout.splitlines() if "::test_" in line]
    root = Path(import_gate.__file__).parent
    marked = [p for p in root.rglob("test_*.py") if "mark.gpu" in p.read_text()]
    assert {line.partition("::")[0].rpartition("/")[2] for line in found} == {
        path.name for path in marked if path.name != Path(__file__).name
    }


def test_the_gate_is_closed_to_the_rest() -> None:
    closed = import_gate.closed_modules()
    assert {"matplotlib", "mlflow", "monai", "SimpleITK", "skimage"} <= closed
    assert not {"torch", "numpy", "nibabel", "yaml", "dateutil", "jinja2"} & closed
