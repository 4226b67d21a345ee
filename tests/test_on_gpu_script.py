"""What is run on a machine with a GPU ends in time, whatever a part of it does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SLOW = """#!/usr/bin/env bash
case " $* " in
  *" -m pip "*) {pip} ;;
  *" smoke "*) echo '{{"part": "smoke", "row": 1}}'; {smoke} ;;
  *" tests "*) exit 3 ;;
  *) echo '{{"part": "another"}}' ;;
esac
"""


def run(folder: Path, *, pip: str = "true", smoke: str = "true", **more: str) -> Any:
    """Rows and exit code of a call whose Python does what it is told."""
    python = folder / "python"
    python.write_text(SLOW.format(pip=pip, smoke=smoke))
    python.chmod(0o755)
    results = folder / "results"
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), str(results)],
        env={**os.environ, "PYTHON": str(python), "DEVICE": "cpu", **more},
        capture_output=True,
        text=True,
    )
    lines = (results / "on_gpu.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], done.returncode


def test_a_part_that_hangs_is_cut_and_what_it_said_is_kept(tmp_path: Path) -> None:
    rows, code = run(tmp_path, smoke="sleep 1000", LIMIT="12")
    assert rows[0] == {"part": "smoke", "row": 1}
    assert rows[1]["part"] == "smoke"
    assert rows[1]["not measured"].startswith("cut after 1")
    assert {"part": "tests", "not measured": "no time was left"} in rows
    assert code == 1


def test_a_part_that_fails_stops_no_other(tmp_path: Path) -> None:
    rows, code = run(tmp_path)
    failed = "ended with exit code 3, see tests.log"
    assert {"part": "tests", "not measured": failed} in rows
    assert rows.count({"part": "another"}) == 2  # throughput and inference
    assert {"part": "dice", "not measured": "DATA names no folder"} in rows
    assert code == 1


def test_wheels_that_cannot_be_installed_are_said(tmp_path: Path) -> None:
    rows, _ = run(tmp_path, pip="exit 1", WHEELS=str(tmp_path))
    why = "the wheels could not be installed"
    assert rows[0] == {"part": "packages", "not measured": why}
    assert {"part": "smoke", "row": 1} in rows


def test_limits_add_up_to_ten_minutes() -> None:
    """By construction: no part gets more than is left of the whole, and that is 600."""
    script = (ROOT / "benchmarks" / "on_gpu.sh").read_text(encoding="utf-8")
    assert 'limit="${LIMIT:-600}"' in script
    assert '[ "$most" -lt "$left" ] || most="$left"' in script
    started = [line for line in script.splitlines() if '"$python"' in line]
    assert all("timeout" in line or line.startswith("call=") for line in started)
