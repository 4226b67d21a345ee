"""Training and prediction rehearsed on a GPU that is not there.

Each file of rehearsals runs in a process of its own: the guard that gives autograd a
CUDA device must be there before the first backward pass of a process, and stays to its
end. To look at one, ``pytest tests/rehearsal/rehearse_losses.py``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from device_guard import find_compiler

HERE = Path(__file__).parent
REHEARSALS = sorted(path.name for path in HERE.glob("rehearse_*.py"))

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        find_compiler() is None, reason="no C++ compiler, which the fake device needs"
    ),
]


def rehearse(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", str(HERE / name), *options]
    paths = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": paths},
    )


@pytest.mark.parametrize("name", REHEARSALS)
def test_on_a_fake_gpu(name: str) -> None:
    done = rehearse(name)
    assert done.returncode == 0, done.stdout[-6000:]


def test_losses_without_triton() -> None:
    done = rehearse("rehearse_losses.py", "-p", "no_triton")
    assert done.returncode == 0, done.stdout[-6000:]
