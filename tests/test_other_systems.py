"""medseg as on Windows: without POSIX's modules, signals and calls, in plain text.

Processes see what Windows has (`tests/support/windows`): no ``resource``, ``fcntl`` or
``pwd``, no signal but its own, ``os`` without what Windows lacks, `sys.platform` of
Windows, and a terminal that takes no other letters than its western code page.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="says which names Windows lacks")

ROOT = Path(__file__).parents[1]

EVERY_MODULE = """
import importlib, pkgutil, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="medseg")
import medseg
found = 0
for module in pkgutil.walk_packages(medseg.__path__, "medseg."):
    if module.name.endswith("__main__") or ".triton_" in module.name:
        continue
    importlib.import_module(module.name)
    found += 1
print(found)
"""

WHAT_IS_MASKED = """
import types
module = types.ModuleType("medseg.tried")
for text in {lines!r}:
    try:
        exec(text, vars(module))
    except (ImportError, AttributeError, OSError) as error:
        print(type(error).__name__)
    else:
        print("there")
"""


def run_as_on_windows(*arguments: str) -> str:
    """What a Python process printed, which must end well."""
    path = os.pathsep.join([str(ROOT / "tests/support/windows"), str(ROOT)])
    answer = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONIOENCODING": "cp1252:strict",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        encoding="cp1252",
        timeout=600,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_the_mask_hides_what_windows_lacks():
    expected = {
        "import resource": "ModuleNotFoundError",
        "import fcntl": "ModuleNotFoundError",
        "from pwd import getpwuid": "ModuleNotFoundError",
        "import signal; signal.SIGKILL": "AttributeError",
        "import signal; signal.SIGUSR1": "AttributeError",
        "import signal; signal.alarm": "AttributeError",
        "import signal; signal.SIGTERM, signal.SIGINT": "there",
        "from os import fork": "ImportError",
        "import os; os.getuid": "AttributeError",
        "import os; os.sched_getaffinity": "AttributeError",
        "import os; os.statvfs": "AttributeError",
        "import os; os.getpid(), os.cpu_count(), os.environ, os.path.join": "there",
        "import os; os.fsync(open(os.devnull).fileno())": "OSError",
        "import sys; assert sys.platform == 'win32'": "there",
    }
    found = run_as_on_windows("-c", WHAT_IS_MASKED.format(lines=list(expected)))
    assert dict(zip(expected, found.split(), strict=True)) == expected


def test_every_module_can_be_imported():
    assert int(run_as_on_windows("-c", EVERY_MODULE)) > 300


def test_a_model_is_trained_and_used(tiny_study: Path, tmp_path: Path):
    config, run, out = (tmp_path / name for name in ("run.yaml", "run", "out"))
    config.write_text(
        "plan: {batch_size: 2, patch_size: [16, 16, 16],\n"
        "  network: {name: unet, channels: [4, 8], strides: [1, 2]}}\n"
        "training: {steps: 2, validation_cases: 1, precision: float32}\n"
        "inference: {engine: torch}\n"
        "metrics: {distances: false}\n"
    )
    cli = ("-W", "error::EncodingWarning:medseg", "-m", "medseg")
    data = ("--data", str(tiny_study), "-o", str(run), "--device", "cpu")
    run_as_on_windows(*cli, "train", str(config), *data)
    assert (run / "model" / "weights.safetensors").is_file()
    scans = str(tiny_study / "imagesTr" / "tiny_000.nii.gz")
    run_as_on_windows(*cli, "predict", str(run), scans, "-o", str(out))
    assert (out / "tiny_000.nii.gz").is_file()
