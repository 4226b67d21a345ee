"""A package that registers parts by name, installed by pip into a folder of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("setuptools", reason="the package is built without a network")

HERE = Path(__file__).parent
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tinyparts"
version = "1.2"

[tool.setuptools]
packages = ["tiny_parts"]

[project.entry-points."medseg.networks"]
half_net = "tiny_parts.own_network:HalfNet"

[project.entry-points."medseg.losses"]
brier = "tiny_parts.own_loss:BrierLoss"

[project.entry-points."medseg.metrics"]
volume_ratio = "tiny_parts.own_metric:volume_ratio"
"""
CONFIG = {
    "prepare": {"num_folds": 3},
    "plan": {"patch_size": [16] * 3, "batch_size": 2, "network": {"name": "half_net"}},
    "training": {
        "steps": 2,
        "precision": "float32",
        "schedule": {"name": "constant", "warmup": 0},
        "loss": {"name": "brier", "args": {"weight": 2.0}},
    },
    "metrics": {"num_resamples": 100, "extra": [{"name": "volume_ratio"}]},
    "tracking": {"enabled": False},
    "inference": {"engine": "torch", "precision": "float32"},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with one that registers a network and more."""
    source = tmp_path_factory.mktemp("source")
    (source / "tiny_parts").mkdir()
    (source / "tiny_parts" / "__init__.py").write_text("")
    for name in ("own_network", "own_loss", "own_metric"):
        shutil.copy(HERE / f"{name}.py", source / "tiny_parts")
    (source / "pyproject.toml").write_text(PROJECT)
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", target, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def medseg(
    *arguments: object, packages: Path | None
) -> subprocess.CompletedProcess[str]:
    """The command line, in an environment with these packages."""
    known = [os.environ.get("PYTHONPATH"), packages]
    path = os.pathsep.join(str(part) for part in known if part)
    return subprocess.run(
        [sys.executable, "-m", "medseg", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_what_a_package_registers_is_found_by_name_and_recorded(
    installed: Path, tiny_study: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(CONFIG))
    run, where = tmp_path / "run", ["--device", "cpu", "-o"]
    train = ["train", tmp_path / "a.yaml", "--data", tiny_study, *where, run]
    done = medseg(*train, packages=None)
    assert done.returncode == 2
    assert "half_net" in done.stderr
    assert not run.exists()

    done = medseg(*train, packages=installed)
    assert done.returncode == 0, done.stderr
    record = yaml.safe_load((run / "plugins.yaml").read_text())
    assert record["plan.network"]["name"] == "half_net"
    assert record["plan.network"]["package"] == "tinyparts"
    assert record["plan.network"]["version"] == "1.2"
    assert set(record) == {"plan.network", "training.loss", "metrics.extra.0"}
    assert "volume_ratio" in (run / "validation" / "cases.csv").read_text()

    scan = sorted((tiny_study / "imagesTr").iterdir())[0]
    predict = ["predict", run / "model", scan, *where]
    done = medseg(*predict, tmp_path / "a", packages=installed)
    assert done.returncode == 0, done.stderr
    done = medseg(*predict, tmp_path / "b", packages=None)
    assert done.returncode == 2
    assert "half_net" in done.stderr
