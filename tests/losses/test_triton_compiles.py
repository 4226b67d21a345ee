"""The loss's kernels become machine code for GPUs that are not here."""

import os
import subprocess
import sys
from pathlib import Path

import compile_for_gpus
import pytest

CAPABILITIES = ["70", "80", "90"]


def compiled(folder: Path, *arguments: str) -> list[str]:
    """A line for each kernel; a cache of its own, so that nothing is left over."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, compile_for_gpus.__file__, *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_kernels_compile(tmp_path: Path) -> None:
    lines = compiled(tmp_path, "80", "--few")
    names = [line.split()[1] for line in lines]
    assert names == ["sums_kernel", "gradient_kernel", "derivatives_kernel"]
    assert all(int(line.split()[-1]) > 1000 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_kind_compiles(tmp_path: Path, capability: str) -> None:
    assert len(compiled(tmp_path, capability)) == 12
