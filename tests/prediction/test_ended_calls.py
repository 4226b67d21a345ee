"""Scans that were being segmented when a call was killed, or ran out of memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from predict_phantoms import Predict, scan_like

from medseg.prediction.ended_calls import MOST, SEGMENTING, EndedCalls
from medseg.prediction.scan import Scan

KILLED = """
import os, sys
from pathlib import Path
from medseg.prediction.ended_calls import EndedCalls
from medseg.prediction.scan import Scan

with EndedCalls(Path(sys.argv[1])).marked(Scan(sys.argv[2], ())):
    os.abort()
"""


def end_a_call(out: Path, scan: str) -> None:
    """As the system does where memory runs out: no line of Python runs any more."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", KILLED, str(out), scan]
    assert subprocess.run(command, capture_output=True).returncode < 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        scan_like(tmp_path / "tree" / f"{name}.nii.gz")
    return tmp_path / "tree"


def test_it_comes_last_in_the_next_call(
    model: Path, tree: Path, tmp_path: Path, call: Predict
) -> None:
    out = tmp_path / "out"
    end_a_call(out, "a")
    lines = call(model, tree, out)
    assert [(line.scan, line.status) for line in lines] == [
        ("b", "done"),
        ("c", "done"),
        ("a", "done"),
    ]
    assert not (out / SEGMENTING).exists()


def test_after_some_such_ends_it_is_passed_over_once(
    model: Path, tree: Path, tmp_path: Path, call: Predict
) -> None:
    out = tmp_path / "out"
    for _ in range(MOST):
        end_a_call(out, "a")
    lines = call(model, tree, out)
    assert [line.status for line in lines] == ["done", "done", "failed"]
    assert lines[-1].scan == "a"
    assert "out of memory" in lines[-1].reason
    again = call(model, tree, out)
    assert [line.status for line in again] == ["done", "unchanged", "unchanged"]
    assert not (out / SEGMENTING).exists()


def test_two_scans_are_told_apart(tmp_path: Path) -> None:
    end_a_call(tmp_path, "b")
    end_a_call(tmp_path, "a")
    end_a_call(tmp_path, "b")
    ended = EndedCalls(tmp_path)
    scans = [Scan(name, ()) for name in "abcd"]
    assert [ended.during(scan) for scan in scans] == [1, 2, 0, 0]
    assert "".join(scan.name for scan in ended.in_order(scans)) == "cdab"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_orderly_end_leaves_no_mark(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def segment() -> None:
        with EndedCalls(tmp_path).marked(Scan("a", ())):
            assert json.loads((tmp_path / SEGMENTING).read_text()) == {"a": 1}
            raise error

    with pytest.raises(error):
        segment()
    assert not (tmp_path / SEGMENTING).exists()


@pytest.mark.parametrize("text", ["", '{"a": ', "[1]", "null", '{"a": "x"}'])
def test_a_list_that_was_cut_short_counts_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / SEGMENTING).write_text(text)
    assert EndedCalls(tmp_path).during(Scan("a", ())) == 0
