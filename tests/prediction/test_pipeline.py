"""Reading ahead and writing behind: order kept, failures apart, interruptions safe."""

import threading
import warnings
from pathlib import Path

import pytest
from predict_phantoms import Predict, scan_like

from medseg.errors import OutputError
from medseg.io.geometry_warning import GeometryWarning, recorded_geometry, warn_geometry
from medseg.prediction.captured_warnings import remarks, remarks_by_thread
from medseg.prediction.ended_calls import SEGMENTING, EndedCalls
from medseg.prediction.pipeline import PredictionPipeline
from medseg.prediction.records import DONE, Prediction
from medseg.prediction.scan import Scan
from medseg.prediction.scan_job import ScanJob

SECONDS = 30.0


class Stages:
    """Stands in for a segmenter; each stage is one event per scan."""

    def __init__(self) -> None:
        self.begun: dict[str, threading.Event] = {}
        self.waits: dict[str, str] = {}
        self.fails: dict[str, BaseException] = {}
        self.order: list[str] = []

    def event(self, name: str) -> threading.Event:
        return self.begun.setdefault(name, threading.Event())

    def pass_through(self, stage: str, scan: Scan) -> None:
        name = f"{stage} {scan.name}"
        self.order.append(name)
        self.event(name).set()
        if name in self.waits:
            assert self.event(self.waits[name]).wait(SECONDS), name
        if name in self.fails:
            raise self.fails[name]

    def read(self, scan: Scan, earlier: Prediction | None = None) -> ScanJob:
        del earlier
        self.pass_through("read", scan)
        return ScanJob(scan)

    def compute(self, job: ScanJob) -> ScanJob:
        self.pass_through("compute", job.scan)
        return job

    def write(self, job: ScanJob) -> Prediction:
        self.pass_through("write", job.scan)
        return Prediction(job.scan.name, DONE)


def assembled(stages: Stages, folder: Path, names: str = "abc") -> list[str]:
    scans = [Scan(name, ()) for name in names]
    lines: list[str] = []
    PredictionPipeline(
        stages,  # type: ignore[arg-type]
        lambda _: None,
        EndedCalls(folder),
        lambda line: lines.append(line.scan),
    ).run(iter(scans), scans)
    return lines


def test_the_next_is_read_and_the_last_written_meanwhile(tmp_path: Path) -> None:
    stages = Stages()
    stages.waits = {"compute a": "read b", "write a": "compute b"}
    assert assembled(stages, tmp_path) == ["a", "b", "c"]


def test_an_interruption_keeps_what_is_finished(tmp_path: Path) -> None:
    stages = Stages()
    stages.fails = {"compute b": KeyboardInterrupt()}
    scans = [Scan(name, ()) for name in "abc"]
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        PredictionPipeline(
            stages,  # type: ignore[arg-type]
            lambda _: None,
            EndedCalls(tmp_path),
            lambda line: lines.append(line.scan),
        ).run(iter(scans), scans)
    assert lines == ["a"]
    assert not (tmp_path / SEGMENTING).exists()


def test_a_full_disk_ends_the_work(tmp_path: Path) -> None:
    stages = Stages()
    stages.fails = {"write a": OutputError("full")}
    with pytest.raises(OutputError, match="full"):
        assembled(stages, tmp_path)
    assert "compute c" not in stages.order


def test_warnings_go_to_the_scan_of_their_thread() -> None:
    found: dict[str, list[str]] = {}
    gate = threading.Barrier(2)

    def job(name: str) -> None:
        with remarks() as said, recorded_geometry() as geometry:
            gate.wait(SECONDS)
            warnings.warn(f"own {name}", GeometryWarning, stacklevel=1)
            warnings.warn("a library's, with values", UserWarning, stacklevel=1)
            warn_geometry(Path(name), "repaired")
            gate.wait(SECONDS)
        found[name] = [*said, *geometry]

    with remarks_by_thread():
        threads = [threading.Thread(target=job, args=(n,)) for n in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: [f"own {n}", f"{n}: repaired"] for n in "ab"}


def test_small_scans_come_first_when_asked(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    for number, size in enumerate([30, 8, 20]):
        path = tmp_path / "in" / f"{number}.nii"
        scan_like(path, shape=(size, 8, 8), seed=number)
    lines = call(model, tmp_path / "in", tmp_path / "out", small_first=True)
    assert [line.scan for line in lines] == ["1", "2", "0"]
    assert {line.status for line in lines} == {"done"}
