"""Growing trees: studies wait until they are whole, errors are survived."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from predict_phantoms import planted_series, scan_like

from medseg.errors import MissingFileError
from medseg.io.identity import Pseudonymizer
from medseg.plan import ChannelPlan
from medseg.prediction.records import PredictionTable
from medseg.prediction.scans import Collector
from medseg.prediction.series_rules import SeriesRules
from medseg.prediction.shutdown import Stop
from medseg.prediction.stable_files import StableFiles
from medseg.prediction.watch import _Loop, watch
from medseg.progress import Silent


def files(root: Path, *channels: str, settle: float = 10.0) -> StableFiles:
    return StableFiles(
        root, channels=channels or ("CT",), settle=settle, out=root / "out"
    )


def test_a_study_waits_until_it_has_not_changed(tmp_path: Path) -> None:
    settled = files(tmp_path)
    paths = planted_series(tmp_path / "a", shape=(4, 4, 3)).paths
    assert settled.poll(0.0) == []
    assert settled.poll(9.0) == []
    late = planted_series(tmp_path / "b", shape=(4, 4, 2), SeriesNumber=9).paths
    assert settled.poll(12.0) == []  # the same study
    assert settled.poll(22.0) == [sorted([*paths, *late])]
    assert settled.poll(99.0) == []


def test_studies_of_one_folder_do_not_wait_for_each_other(tmp_path: Path) -> None:
    settled = files(tmp_path)
    first = planted_series(tmp_path, shape=(4, 4, 2), study_uid="1.2.7").paths
    settled.poll(0.0)
    for number, path in enumerate(first):
        path.rename(tmp_path / f"first{number}")
    second = planted_series(tmp_path, shape=(4, 4, 2), study_uid="1.2.8").paths
    settled.poll(5.0)
    ready = settled.poll(15.0)
    assert len(ready) == 2
    assert sorted(second) in ready


def test_a_growing_file_is_not_handed_out(tmp_path: Path) -> None:
    whole = scan_like(tmp_path / "scan.nii.gz").read_bytes()
    settled = files(tmp_path)
    for step in range(1, 5):
        (tmp_path / "scan.nii.gz").write_bytes(whole[: step * len(whole) // 5])
        assert settled.poll(9.0 * step) == []
    assert settled.poll(46.0) == [[tmp_path / "scan.nii.gz"]]


def test_a_changed_file_comes_again_and_a_lost_one_does_not(tmp_path: Path) -> None:
    paths = planted_series(tmp_path, shape=(4, 4, 3)).paths
    settled = files(tmp_path)
    settled.poll(0.0)
    assert len(settled.poll(10.0)) == 1
    paths[0].unlink()
    settled.poll(11.0)
    assert settled.poll(30.0) == []
    os.utime(paths[1], (1, 1))
    settled.poll(31.0)
    assert settled.poll(50.0) == [sorted(paths[1:])]


def test_channels_of_one_case_come_together(tmp_path: Path) -> None:
    settled = files(tmp_path, "t1", "flair")
    one = scan_like(tmp_path / "x_t1.nii.gz")
    settled.poll(0.0)
    two = scan_like(tmp_path / "x_flair.nii.gz")
    settled.poll(8.0)
    assert settled.poll(12.0) == []
    assert settled.poll(18.0) == [[two, one]]


def test_a_truncated_object_is_handed_out_at_last(tmp_path: Path) -> None:
    bad = tmp_path / "IM1"
    bad.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 9)
    settled = files(tmp_path)
    settled.poll(0.0)
    ready = [*settled.poll(10.0), *settled.poll(11.0)]
    assert ready == [[bad]]


def test_results_in_the_tree_are_not_watched(tmp_path: Path) -> None:
    scan_like(tmp_path / "out" / "a.nii.gz")
    settled = files(tmp_path)
    settled.poll(0.0)
    assert settled.poll(50.0) == []


def test_there_must_be_a_folder_to_watch(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such folder to watch"):
        watch(model, tmp_path / "none", tmp_path / "out")


def test_scans_that_come_one_after_the_other_do_not_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    scan_like(tree / "a__x.nii.gz")
    scan_like(tree / "a" / "x.nii.gz", seed=1)
    for n, study in enumerate(("1.2.7", "1.2.8")):  # one SeriesInstanceUID, two studies
        elements = {"study_uid": study, "series_uid": "1.2.9", "seed": n}
        planted_series(tree / f"s{n}", shape=(4, 4, 2), **elements)
    made: dict[str, str] = {}
    monkeypatch.setattr(
        "medseg.prediction.watch.segment_all",
        lambda scans, *rest, **more: made.update({scans[0].name: scans[0].shown}) or [],
    )
    units = [[tree / "a__x.nii.gz"], [tree / "a" / "x.nii.gz"]]
    units += [sorted((tree / name).iterdir()) for name in ("s0", "s1")]
    for order in (units, units[::-1]):
        made.clear()
        loop = loop_over(tree, out)
        for unit in [*order, *order]:  # each comes again when a file is added
            loop._segment(unit)
        assert sorted(made.values()) == ["a/x.nii.gz", "a__x.nii.gz", "s0", "s1"]


def loop_over(tree: Path, out: Path) -> _Loop:
    class Writes:
        def write_page(self, lines: object, *, progress: object) -> None: ...

    names = Pseudonymizer(b"k" * 32)
    collector = Collector((ChannelPlan(name="CT"),), names, SeriesRules(), out)
    table = PredictionTable(out)
    arguments: list[Any] = [Writes(), table, Silent(), Stop()]
    return _Loop(tree, files(tree), collector, *arguments)


@contextmanager
def watching(model: Path, tree: Path, out: Path) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "medseg", "predict", str(model), str(tree)]
    options = ["-o", str(out), "--watch", "--settle", "0.4", "--device", "cpu"]
    process = subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def rows(out: Path) -> dict[str, str]:
    try:
        with (out / "predictions.csv").open(newline="") as stream:
            return {row["scan"]: row["status"] for row in csv.DictReader(stream)}
    except FileNotFoundError:
        return {}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)]
)
def test_new_studies_are_segmented_until_a_signal(
    model: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    scan_like(tree / "first.nii.gz")
    with watching(model, tree, out) as process:
        wait_for(lambda: rows(out).get("first") == "done", process)
        (tree / "bad.nii.gz").write_bytes(b"rubbish")
        wait_for(lambda: rows(out).get("bad") == "failed", process)
        tree.rename(tmp_path / "away")
        time.sleep(0.5)
        (tmp_path / "away").rename(tree)
        scan_like(tree / "second.nii.gz", seed=2)
        wait_for(lambda: rows(out).get("second") == "done", process)
        process.send_signal(number)
        assert process.wait() == code
    assert not list(out.glob(".*part*"))
    assert not (out / ".medseg.owner").exists()
