"""A second call never leaves results that do not fit together, nor loses good ones."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from predict_phantoms import Predict, planted_series, scan_like
from pydicom import dcmread
from workflow_models import make_model

from medseg.io.identity import Pseudonymizer
from medseg.labels import LabelScheme
from medseg.plan import Plan
from medseg.prediction.records import Prediction, PredictionTable
from medseg.prediction.scans import Collector
from medseg.prediction.segmenter import REPLACED, ScanOptions
from medseg.prediction.series_rules import SeriesRules

CODES = """structures:
  ball: {{category: ["123037004", Anatomy], type: ["{code}", {meaning}]}}
"""


def names_in(out: Path) -> set[str]:
    """All results, without what belongs to the folder."""
    own = {"predictions.csv", "report.html"}
    found = (p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    return {
        n
        for n in found
        if n not in own and not n.startswith((".medseg", "viewer/niivue"))
    }


def test_objects_of_another_model_do_not_stay_beside_the_label_map(
    bright_model: Path, model: Path, tmp_path: Path, call: Predict
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    planted_series(tree)
    everything = ScanOptions(sr=True, probabilities=True, page=True)
    (first,) = call(bright_model, tree, out, options=everything)
    assert len(first.outputs) == 4
    assert names_in(out) > set(first.outputs)
    (second,) = call(model, tree, out)
    assert second.status == "done"
    assert names_in(out) == set(second.outputs)


def test_a_failure_leaves_nothing_of_another_model(
    bright_model: Path, ct_model: Path, tmp_path: Path, call: Predict
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    scan_like(tree / "a.nii.gz", num_channels=1)
    call(bright_model, tree, out, options=ScanOptions(page=True))
    (tree / "a.nii.gz").unlink()
    scan_like(tree / "a.nii.gz", value=3.0)
    (line,) = call(ct_model, tree, out)
    assert (line.status, names_in(out)) == ("failed", set())


def test_a_label_map_that_cannot_be_written_takes_the_others_along(
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted_series(tmp_path / "tree")

    def fail(*arguments: object, **options: object) -> None:
        raise ValueError("no label map")

    monkeypatch.setattr("medseg.prediction.segmenter.write_label_map", fail)
    options = ScanOptions(sr=True, probabilities=True)
    (line,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=options)
    assert (line.status, names_in(tmp_path / "out")) == ("failed", set())


def test_other_codes_make_the_objects_anew(
    bright_model: Path, tmp_path: Path, call: Predict
) -> None:
    tree, out, codes = tmp_path / "tree", tmp_path / "out", tmp_path / "codes.yaml"
    planted_series(tree)
    found = []
    for code, meaning in (("10200004", "Liver"), ("64033007", "Kidney")):
        codes.write_text(CODES.format(code=code, meaning=meaning))
        options = ScanOptions(seg=True, codes=codes)
        (line,) = call(bright_model, tree, out, options=options)
        segment = dcmread(out / line.outputs[1]).SegmentSequence[0]
        found.append(segment.SegmentedPropertyTypeCodeSequence[0].CodeValue)
    assert found == ["10200004", "64033007"]
    (line,) = call(bright_model, tree, out, options=options)
    assert line.status == "unchanged"


def test_the_same_weights_with_other_labels_are_another_model(
    small_plan: Plan, tmp_path: Path, call: Predict
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    scan_like(tree / "a.nii.gz")
    moved = LabelScheme(names={n: v + 6 for n, v in small_plan.labels.names.items()})
    for plan in (small_plan, small_plan.replaced(labels=moved)):
        folder = make_model(tmp_path / f"m{len(list(tmp_path.iterdir()))}", plan)
        (line,) = call(folder, tree, out)
        assert line.status == "done"


def test_a_series_that_is_set_aside_keeps_its_line(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    planted_series(tree / "ct")
    planted_series(tree / "mr", Modality="MR")
    call(model, tree, out, series=["Modality=CT"])
    call(model, tree, out, series=["Modality=MR"])
    with (out / "predictions.csv").open(newline="") as stream:
        rows = {row["scan"][:2]: row["status"] for row in csv.DictReader(stream)}
    assert rows == {"ct": "done", "mr": "done"}


def test_a_result_that_replaces_one_of_other_files_says_so(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    for seed, patient in enumerate(("one", "two")):
        scan_like(tmp_path / patient / "scan.nii.gz", seed=seed)
    (first,) = call(model, tmp_path / "one" / "scan.nii.gz", tmp_path / "out")
    (second,) = call(model, tmp_path / "two" / "scan.nii.gz", tmp_path / "out")
    assert REPLACED not in first.warnings
    assert REPLACED in second.warnings


def test_the_same_file_as_another_channel_is_another_scan(
    two_channel_model: Path, small_plan: Plan, tmp_path: Path
) -> None:
    plan = small_plan.channels[0]
    channels = tuple(plan.replaced(name=name) for name in ("t1", "flair"))
    collector = Collector(channels, Pseudonymizer(b"k" * 32), SeriesRules(), None)
    hashes = []
    for name in ("x_t1", "x_flair"):
        scan_like(tmp_path / name / f"{name}.nii.gz")
        (scan,) = collector.collect(tmp_path / name)
        assert scan.name == "x"
        hashes.append(scan.content_hash())
        hashes.append(replace(scan, missing=()).content_hash())
    assert hashes[1] == hashes[3]
    assert hashes[0] != hashes[2]


def test_a_line_that_somebody_spoilt_costs_no_other(tmp_path: Path) -> None:
    table = PredictionTable(tmp_path)
    for name in ("a", "b", "c; d"):
        (tmp_path / f"{name}.nii.gz").touch()
        table.put(Prediction(name, "done", outputs=(f"{name}.nii.gz",), seconds=2.5))
    table.flush()
    path = tmp_path / "predictions.csv"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace("2.500", "two and a half")
    path.write_text("\n".join(lines) + "\n")
    assert [line.scan for line in PredictionTable(tmp_path).lines] == ["a", "c; d"]
