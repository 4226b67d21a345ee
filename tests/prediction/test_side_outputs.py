"""What cannot be made beside a label map costs itself alone, and is said."""

import csv
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from predict_phantoms import DICOM_TAGS, SECRETS, Predict, planted_series, scan_like
from pydicom import dcmread
from typer.testing import CliRunner

from medseg.cli.main import app
from medseg.errors import LabelError, OutputError
from medseg.io import read_label_map
from medseg.prediction.records import PredictionTable
from medseg.prediction.segmenter import ScanOptions

SEG = ScanOptions(seg=True)
SR = ScanOptions(sr=True)
NO_FRAME = {"FrameOfReferenceUID": None}
SEGMENTATION, REPORT = "DICOM segmentation", "DICOM report"


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def refusing(error: Exception) -> Callable[..., Any]:
    def write(*args: Any, **options: Any) -> None:
        raise error

    return write


def test_a_series_that_cannot_carry_a_segmentation_keeps_its_label_map(
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
    capfd: pytest.CaptureFixture[str],
) -> None:
    planted_series(tmp_path / "tree" / "lacking", **NO_FRAME)
    planted_series(tmp_path / "tree" / "whole", SeriesNumber=8)
    out, options = tmp_path / "out", ScanOptions(seg=True, page=True)
    lines = call(bright_model, tmp_path / "tree", out, options=options, loud=True)
    (lacking,) = [line for line in lines if line.not_written]
    assert {line.status for line in lines} == {"done"}
    assert lacking.outputs == (f"{lacking.scan}.nii.gz",)
    assert read_label_map(out / lacking.outputs[0]).voxels.any()
    assert list(lacking.not_written) == [SEGMENTATION]
    assert "FrameOfReferenceUID is missing" in lacking.not_written[SEGMENTATION]
    said = " ".join("".join(capfd.readouterr()).split())
    assert f"{lacking.scan}: no {SEGMENTATION}: " in said
    (row,) = [row for row in rows_of(out) if row["not_written"]]
    assert row["not_written"].startswith(f"{SEGMENTATION}: ")
    assert row["status"] == "done"
    page = (out / "report.html").read_text()
    assert "could not be made" in page
    assert "FrameOfReferenceUID is missing" in page


def test_it_is_not_made_again_and_not_called_done_in_silence(
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
    capfd: pytest.CaptureFixture[str],
) -> None:
    planted_series(tmp_path / "tree", **NO_FRAME)
    (first,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=SEG)
    capfd.readouterr()
    (again,) = call(
        bright_model, tmp_path / "tree", tmp_path / "out", options=SEG, loud=True
    )
    assert again.status == "unchanged"
    assert again.not_written == first.not_written
    assert f"no {SEGMENTATION}" in " ".join("".join(capfd.readouterr()).split())
    (more,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=SR)
    assert more.status == "done"  # the report was not asked for before
    assert [line.not_written for line in PredictionTable(tmp_path / "out").lines] == [
        more.not_written
    ]


def test_a_report_needs_no_frame_of_reference(
    bright_model: Path, tmp_path: Path, call: Predict
) -> None:
    planted_series(tmp_path / "tree", **NO_FRAME)
    (line,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=SR)
    assert list(line.not_written) == [SEGMENTATION]
    report = dcmread(tmp_path / "out" / line.outputs[1])
    assert report.Modality == "SR"
    assert "ReferencedSOPSequence" not in str(report.ContentSequence[-1])


def test_the_exit_code_says_that_not_all_went_well(
    bright_model: Path, tmp_path: Path
) -> None:
    planted_series(tmp_path / "tree", **NO_FRAME)
    words = ["predict", str(bright_model), str(tmp_path / "tree"), "--no-page"]
    words += ["-o", str(tmp_path / "out"), "--device", "cpu", "--engine", "torch"]
    for _ in range(2):
        result = CliRunner().invoke(app, [*words, "--seg"])
        assert result.exit_code == 1
        assert "1 of 1 scans segmented" in result.output
        assert "1 without an output that was asked for" in " ".join(
            result.output.split()
        )
    assert CliRunner().invoke(app, words).exit_code == 0


@pytest.mark.parametrize(
    "error",
    [
        LabelError("no label lies on the slices"),
        OutputError("read back differs"),
        RuntimeError("a defect"),
        MemoryError(),
    ],
)
def test_whatever_stops_an_object_costs_that_alone(
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    planted_series(tmp_path / "tree")
    monkeypatch.setattr("medseg.prediction.dicom_results.write_report", refusing(error))
    (line,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=SR)
    assert line.status == "done"
    assert [name.rpartition("_")[2] for name in line.outputs[1:]] == ["seg.dcm"]
    assert list(line.not_written) == [REPORT]
    assert line.not_written[REPORT]


def test_an_object_of_former_results_does_not_stand_for_the_new_ones(
    model: Path, bright_model: Path, tmp_path: Path, call: Predict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    planted_series(tmp_path / "tree")
    call(bright_model, tmp_path / "tree", tmp_path / "out", options=SR)
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2
    for name in ("write_segmentation", "write_report"):
        monkeypatch.setattr(
            f"medseg.prediction.dicom_results.{name}", refusing(ValueError("no"))
        )
    call(model, tmp_path / "tree", tmp_path / "out", options=SR)
    assert not list((tmp_path / "out").glob("*.dcm"))


@pytest.mark.parametrize(
    ("broken", "output"),
    [
        ("medseg.prediction.segmenter.draw_scan", "picture"),
        ("medseg.prediction.segmenter.write_scan_page", "page to look at"),
        (
            "medseg.prediction.segmentation_model.SegmentationModel.plausibility",
            "check of plausibility",
        ),
        (
            "medseg.prediction.segmentation_model.SegmentationModel.presence",
            "presence",
        ),
    ],
)
def test_siblings(
    model: Path,
    tmp_path: Path,
    call: Predict,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    output: str,
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")
    monkeypatch.setattr(broken, refusing(ValueError("planted; twice")))
    out, options = tmp_path / "out", ScanOptions(page=True)
    (line,) = call(model, tmp_path / "tree", out, options=options)
    assert line.status == "done"
    assert line.not_written == {output: "ValueError: planted, twice"}
    assert (out / "a.nii.gz").is_file()
    (kept,) = PredictionTable(out).lines
    assert kept.not_written == line.not_written
    if output == "check of plausibility":
        assert line.plausibility == "could not be checked"


def test_probabilities_that_cannot_be_written_cost_no_label_map(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")
    (tmp_path / "out" / "a_probabilities.b2nd" / "taken").mkdir(parents=True)
    options = ScanOptions(probabilities=True)
    (line,) = call(model, tmp_path / "tree", tmp_path / "out", options=options)
    assert (line.status, list(line.not_written)) == ("done", ["probabilities"])
    call(model, tmp_path / "tree", tmp_path / "plain")
    same = [(tmp_path / n / "a.nii.gz").read_bytes() for n in ("out", "plain")]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    "broken",
    [
        "medseg.prediction.dicom_results.write_segmentation",
        "medseg.prediction.dicom_results.write_report",
        "medseg.prediction.segmenter.draw_scan",
        "medseg.prediction.segmenter.write_folder_page",
        "medseg.inference.predictor.probability_file",
    ],
)
def test_a_full_disk_still_ends_the_call(
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OutputError("planted: cannot be written") from OSError(
            errno.ENOSPC, "no room"
        )

    planted_series(tmp_path / "tree")
    monkeypatch.setattr(broken, full)
    options = ScanOptions(sr=True, page=True, probabilities=True)
    with pytest.raises(OutputError, match="planted"):
        call(bright_model, tmp_path / "tree", tmp_path / "out", options=options)


def test_a_page_that_cannot_be_written_ends_no_call(
    model: Path, tmp_path: Path, call: Predict, capfd: pytest.CaptureFixture[str]
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    page = ScanOptions(page=True)
    (line,) = call(model, tmp_path / "tree", tmp_path / "out", options=page, loud=True)
    assert line.status == "done"
    assert "no page of all scans: " in "".join(capfd.readouterr())


@pytest.mark.filterwarnings("ignore")
def test_reasons_name_no_patient(
    bright_model: Path, tmp_path: Path, call: Predict
) -> None:
    tree = tmp_path / "PLANTEDNAME_19480229"
    planted_series(tree, **{**DICOM_TAGS, **NO_FRAME})
    (line,) = call(bright_model, tmp_path, tmp_path / "out", options=SEG)
    text = (tmp_path / "out" / "predictions.csv").read_text()
    assert line.not_written
    assert not [s for s in SECRETS if s.lower() in (text + repr(line)).lower()]


@pytest.mark.parametrize("options", [SEG, SR])
@pytest.mark.parametrize("with_series", [True, False])
def test_files_that_carry_no_dicom_objects_are_said(
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
    capfd: pytest.CaptureFixture[str],
    options: ScanOptions,
    with_series: bool,
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")
    if with_series:
        planted_series(tmp_path / "tree" / "series")
    call(bright_model, tmp_path / "tree", tmp_path / "out", options=options, loud=True)
    said = " ".join("".join(capfd.readouterr()).split())
    assert ("no scan is a DICOM series" in said) is not with_series
