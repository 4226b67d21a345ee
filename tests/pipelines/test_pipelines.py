"""Every study runs from its own file, in its small version."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

PIPELINES = sorted((Path(__file__).parents[2] / "pipelines").glob("*.py"))


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("script", PIPELINES, ids=lambda path: path.stem)
def test_a_pipeline_says_what_it_needs(script: Path, tmp_path: Path) -> None:
    done = run(script, "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("name ")
    assert "--smoke" in done.stderr


@pytest.mark.parametrize("script", PIPELINES, ids=lambda path: path.stem)
def test_wrong_data_is_said_in_words(script: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    named = ["--out", str(tmp_path / "out"), "--data", missing]
    if script.stem == "scan_folder":
        named += ["--model", missing]
    done = run(script, *named)
    assert done.returncode == 2, done.stderr
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("script", PIPELINES, ids=lambda path: path.stem)
def test_the_small_version_runs_to_its_table(script: Path, tmp_path: Path) -> None:
    done = run(script, "--out", str(tmp_path), "--smoke", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    tables = [pd.read_csv(path) for path in tmp_path.rglob("*.csv")]
    assert any(len(table) > 1 for table in tables)
    assert str(tmp_path) in done.stdout
