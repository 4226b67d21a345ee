"""Trees of scans: every one found, each with a status, none stopping the others."""

import csv
import errno
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pytest
from predict_phantoms import DICOM_TAGS, Predict, planted_series, scan_like
from pydicom import dcmread
from workflow_models import make_model

from medseg.errors import InputError, OutputError, SettingsError
from medseg.folder_lock import OWNER, lock_folder
from medseg.inference.settings import InferenceSettings
from medseg.io import read_grid, read_label_map
from medseg.io.dicom.label_objects.segmentation import read_segmentation
from medseg.io.object_files import ObjectFormat
from medseg.labels import LabelScheme
from medseg.plan import Plan
from medseg.prediction.records import Prediction, PredictionTable
from medseg.prediction.scan_job import ScanJob
from medseg.prediction.segmenter import ScanOptions, Segmenter


def table_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as stream:
        return {row["scan"]: row for row in csv.DictReader(stream)}


def statuses(lines: list[Prediction]) -> dict[str, str]:
    return {line.scan: line.status for line in lines}


def test_every_scan_of_a_mixed_tree_has_a_status(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    tree = tmp_path / "tree"
    scan_like(tree / "a" / "one.nii.gz")
    scan_like(tree / "b" / "one.nii.gz", seed=1)
    scan_like(tree / "two.nrrd")
    scan_like(tree / "four_d.nii.gz", num_channels=3)
    scan_like(tree / "empty.nii.gz", value=7.0)
    scan_like(tree / "flat.nii.gz", shape=(24, 28, 1))
    good = (tree / "a" / "one.nii.gz").read_bytes()
    (tree / "cut.nii.gz").write_bytes(good[: len(good) // 2])
    (tree / "nothing.nii.gz").write_bytes(b"")
    (tree / "notes.txt").write_text("no scan")
    (tree / "empty_notes").write_bytes(b"")
    (tree / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM rubbish")
    planted_series(tree / "study" / "deep", Modality="MR")
    planted_series(tree / "study", SeriesNumber=8)
    lines = call(model, tree, tmp_path / "out")
    found = {line.scan: line for line in lines}
    plain = {
        n: line
        for n, line in found.items()
        if line.source.startswith(("a", "b/", "two"))
    }
    assert {n: line.status for n, line in plain.items()} == {
        "a__one": "done",
        "b__one": "done",
        "two": "done",
    }
    assert "3 channels" in found["four_d"].reason
    assert "every voxel is 7" in found["empty"].reason
    assert "a single slice" in found["flat"].reason
    assert "truncated" in found["cut"].reason
    assert "empty" in found["nothing"].reason
    dicom = {
        n: line.status for n, line in found.items() if n.startswith(("ct_", "mr_"))
    }
    assert sorted(dicom.values()) == ["done", "done"]
    broken = [line for line in lines if line.source == "broken.dcm"]
    assert [line.status for line in broken] == ["failed"]
    assert len(found) == 11
    assert set(table_of(tmp_path / "out")) == set(found)


def test_the_result_of_a_series_lies_on_its_grid_under_a_pseudonym(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    planted_series(tmp_path / "tree")
    (line,) = call(model, tmp_path / "tree", tmp_path / "out")
    (output,) = line.outputs
    assert output.startswith("ct_")
    grid = read_grid(tmp_path / "out" / output)
    assert not read_grid(tmp_path / "tree").mismatch(grid)


def test_another_modality_than_the_models_is_refused_with_a_hint(
    ct_model: Path, tmp_path: Path, call: Predict
) -> None:
    planted_series(tmp_path / "tree" / "ct")
    planted_series(tmp_path / "tree" / "mr", Modality="MR")
    lines = call(ct_model, tmp_path / "tree", tmp_path / "out")
    assert sorted(line.status for line in lines) == ["done", "failed"]
    (failed,) = (line for line in lines if line.failed)
    assert "Modality MR, the model was trained on CT" in failed.reason
    assert "--series Modality=CT" in failed.reason
    lines = call(ct_model, tmp_path / "tree", tmp_path / "o", series=["Modality=CT"])
    assert sorted(line.status for line in lines) == ["done", "set aside"]


def test_a_second_call_does_only_what_is_missing_or_changed(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    for number in range(3):
        scan_like(tree / f"{number}.nii.gz", seed=number)
    call(model, tree, out)
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("*.nii.gz")}
    (out / "1.nii.gz").unlink()
    scan_like(tree / "2.nii.gz", seed=9)
    scan_like(tree / "3.nii.gz", seed=3)
    again = call(model, tree, out)
    assert statuses(again) == {"0": "unchanged", "1": "done", "2": "done", "3": "done"}
    assert (out / "0.nii.gz").stat().st_mtime_ns == before["0.nii.gz"]
    assert table_of(out)["0"]["status"] == "unchanged"
    assert set(statuses(call(model, tree, out)).values()) == {"unchanged"}


def test_another_model_or_other_settings_segment_again(
    model: Path, ct_model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz", offset=-500)
    out = tmp_path / "out"
    assert statuses(call(model, tmp_path / "tree", out)) == {"a": "done"}
    assert statuses(call(ct_model, tmp_path / "tree", out)) == {"a": "done"}
    strict = ScanOptions(strict=True)
    again = call(ct_model, tmp_path / "tree", out, options=strict)
    assert statuses(again) == {"a": "done"}


def test_results_of_other_scans_stay_in_the_table(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "one" / "a.nii.gz")
    scan_like(tmp_path / "two" / "b.nii.gz")
    call(model, tmp_path / "one", tmp_path / "out")
    call(model, tmp_path / "two", tmp_path / "out")
    assert sorted(table_of(tmp_path / "out")) == ["a", "b"]


def test_a_scan_that_turned_bad_leaves_no_result_of_its_former_self(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    scan = scan_like(tmp_path / "tree" / "a.nii.gz")
    call(model, tmp_path / "tree", tmp_path / "out")
    scan.write_bytes(scan.read_bytes()[:500])
    assert statuses(call(model, tmp_path / "tree", tmp_path / "out")) == {"a": "failed"}
    assert not (tmp_path / "out" / "a.nii.gz").exists()


def test_results_inside_the_tree_are_not_scans(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "a.nii.gz")
    call(model, tmp_path, tmp_path / "out")
    assert statuses(call(model, tmp_path, tmp_path / "out")) == {"a": "unchanged"}


def test_a_folder_without_scans_is_refused(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match="no scan found"):
        call(model, tmp_path, tmp_path / "out")


def test_a_tilted_series_is_repaired_on_record_or_refused_as_strict(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    planted_series(tmp_path / "tree", tilt=0.3)
    (line,) = call(model, tmp_path / "tree", tmp_path / "out")
    assert line.status == "done"
    assert any(note.startswith("tilt") for note in line.warnings)
    strict = ScanOptions(strict=True)
    (line,) = call(model, tmp_path / "tree", tmp_path / "strict", options=strict)
    assert "refused as strict" in line.reason


# --- DICOM segmentations and identity ------------------------------------------------


def test_seg_lies_beside_the_label_map_and_holds_the_same_voxels(
    bright_model: Path, tmp_path: Path, call: Predict
) -> None:
    planted_series(tmp_path / "tree")
    seg = ScanOptions(seg=True)
    (line,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=seg)
    label_map, segmentation = line.outputs
    expected = read_label_map(tmp_path / "out" / label_map)
    found = read_segmentation(tmp_path / "out" / segmentation)
    again = found.label_map(expected.grid)
    assert np.array_equal(again.voxels, expected.voxels)
    (line,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=seg)
    assert line.status == "unchanged"


def test_a_label_map_without_seg_is_made_again_when_one_is_asked_for(
    bright_model: Path, tmp_path: Path, call: Predict
) -> None:
    planted_series(tmp_path / "tree")
    call(bright_model, tmp_path / "tree", tmp_path / "out")
    seg = ScanOptions(seg=True)
    (line,) = call(bright_model, tmp_path / "tree", tmp_path / "out", options=seg)
    assert (line.status, len(line.outputs)) == ("done", 2)


def test_a_report_refers_to_the_segmentation_and_says_the_same_volume(
    bright_model: Path, tmp_path: Path, call: Predict
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    planted_series(tree / "dicom")
    scan_like(tree / "plain.nii.gz")
    seg, sr = ScanOptions(seg=True), ScanOptions(sr=True)
    call(bright_model, tree, out, options=seg)
    dicom, plain = call(bright_model, tree, out, options=sr)
    assert (dicom.status, len(dicom.outputs)) == ("done", 3)
    assert plain.status == "unchanged"  # nothing else could be written of it
    segmentation, report = (dcmread(out / name) for name in dicom.outputs[1:])
    document = hd.sr.srread(out / dicom.outputs[2])
    groups = document.content.get_volumetric_roi_measurement_groups(
        referenced_sop_instance_uid=segmentation.SOPInstanceUID
    )
    volumes = {
        group.tracking_identifier: m.value
        for group in groups
        for m in group.get_measurements()
        if m.name.meaning == "Volume"
    }
    assert volumes == pytest.approx(dicom.volumes_ml, rel=1e-4)
    assert report.StudyInstanceUID == segmentation.StudyInstanceUID
    again = call(bright_model, tree, out, options=sr)
    assert {line.status for line in again} == {"unchanged"}
    (tree / "other").mkdir()
    scan_like(tree / "other" / "scan.nii.gz", seed=3)
    other = [n for n in call(bright_model, tree, out, options=sr) if "other" in n.scan]
    assert "no DICOM series to refer to" in str(other[0].warnings)


def test_cells_are_asked_of_models_that_know_any(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")
    cells = ScanOptions(cells_as=(ObjectFormat.GEOJSON,))
    with pytest.raises(SettingsError, match="does not tell single objects apart"):
        call(model, tmp_path / "tree", tmp_path / "out", options=cells)


def test_nothing_found_is_reported_and_not_segmented(
    small_plan: Plan, tmp_path: Path, call: Predict
) -> None:
    plan = small_plan.model_copy(update={"labels": LabelScheme(names={"ball": 1})})
    finds_nothing = make_model(tmp_path / "model", plan, bias=-50.0)
    planted_series(tmp_path / "tree")
    sr = ScanOptions(sr=True)
    (line,) = call(finds_nothing, tmp_path / "tree", tmp_path / "out", options=sr)
    assert not any(line.volumes_ml.values())
    assert line.outputs[1].endswith("_sr.dcm")
    assert len(line.outputs) == 2
    (again,) = call(finds_nothing, tmp_path / "tree", tmp_path / "out", options=sr)
    assert again.status == "unchanged"


@pytest.mark.filterwarnings("ignore")
def test_planted_names_and_dates_appear_in_no_artifact(
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
    capfd: pytest.CaptureFixture[str],
) -> None:
    tree, out = tmp_path / "tree" / "PLANTEDNAME_19480229", tmp_path / "out"
    secrets = planted_series(tree / "good", **DICOM_TAGS).secrets
    planted_series(tree / "tilted", tilt=0.2, **DICOM_TAGS)
    bad = planted_series(tree / "bad", **DICOM_TAGS).paths
    bad[0].write_bytes(bad[0].read_bytes()[:900])
    for path in bad[1:]:
        path.unlink()
    options = ScanOptions(seg=True, sr=True)
    lines = call(bright_model, tmp_path / "tree", out, options=options, loud=True)
    assert sorted(line.status for line in lines) == ["done", "done", "failed"]
    texts = [*map(repr, lines), *capfd.readouterr()]
    for path in out.rglob("*"):
        texts.append(str(path.relative_to(out)))
        if path.name.endswith(".nii.gz"):
            image = nibabel.load(path)
            texts.append(bytes(image.header.binaryblock).decode("latin-1"))
            texts += [str(e.get_content()) for e in image.header.extensions]
        elif path.is_file() and path.suffix != ".dcm":  # must be filed: carries them
            texts.append(path.read_text())
    assert len(secrets) > 20
    for secret in secrets:
        for text in texts:
            assert secret.lower() not in text.lower(), (secret, text[:200])


# --- several channels ----------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["case_0000", "case_0001"],
        ["case_t1", "case_flair"],
        ["case-T1", "case-FLAIR"],
        ["case/t1", "case/flair"],
    ],
)
def test_files_of_one_case_are_grouped(
    two_channel_model: Path, names: list[str], tmp_path: Path, call: Predict
) -> None:
    for seed, name in enumerate(names):
        scan_like(tmp_path / "tree" / f"{name}.nii.gz", seed=seed)
    (line,) = call(two_channel_model, tmp_path / "tree", tmp_path / "out")
    assert (line.scan, line.status, line.reason) == ("case", "done", "")


def test_channels_come_in_the_models_order_whatever_the_names(
    two_channel_model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "a" / "x_t1.nii.gz", seed=1)
    scan_like(tmp_path / "a" / "x_flair.nii.gz", seed=2)
    scan_like(tmp_path / "b" / "x_0000.nii.gz", seed=1)
    scan_like(tmp_path / "b" / "x_0001.nii.gz", seed=2)
    call(two_channel_model, tmp_path / "a", tmp_path / "out_a")
    call(two_channel_model, tmp_path / "b", tmp_path / "out_b")
    one, other = (read_label_map(tmp_path / o / "x.nii.gz") for o in ("out_a", "out_b"))
    assert np.array_equal(one.voxels, other.voxels)


def test_one_file_with_all_channels_is_a_case(
    two_channel_model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "tree" / "x.nii.gz", num_channels=2)
    (line,) = call(two_channel_model, tmp_path / "tree", tmp_path / "out")
    assert line.status == "done"


def test_a_missing_or_doubled_channel_is_named(
    two_channel_model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "tree" / "x_flair.nii.gz")
    scan_like(tmp_path / "tree" / "y_t1.nii.gz")
    scan_like(tmp_path / "tree" / "y_flair.nii.gz")
    scan_like(tmp_path / "tree" / "y_flair.nrrd")
    lines = call(two_channel_model, tmp_path / "tree", tmp_path / "out")
    reasons = {line.scan: line.reason for line in lines}
    assert "no file for channel t1" in reasons["x"]
    assert "several files for channel flair" in reasons["y"]


def test_series_are_chosen_per_channel_by_rule(
    two_channel_model: Path, tmp_path: Path, call: Predict
) -> None:
    mr = {"Modality": "MR"}
    planted_series(tmp_path / "t" / "1", SeriesDescription="ax T1", seed=1, **mr)
    planted_series(tmp_path / "t" / "2", SeriesDescription="ax FLAIR", seed=2, **mr)
    planted_series(tmp_path / "t" / "3", SeriesDescription="ax DWI", seed=3, **mr)
    (line,) = call(two_channel_model, tmp_path / "t", tmp_path / "none")
    assert "a study of 3 series, the model wants 2 channels" in line.reason
    rules = ["t1:Description~t1", "flair:Description~flair"]
    lines = call(two_channel_model, tmp_path / "t", tmp_path / "out", series=rules)
    assert sorted(line.status for line in lines) == ["done", "set aside"]
    rules = ["t1:Description~ax", "flair:Description~flair"]
    lines = call(two_channel_model, tmp_path / "t", tmp_path / "two", series=rules)
    assert "3 series fit the rule of channel t1" in lines[0].reason
    with pytest.raises(SettingsError, match="no rule for flair"):
        call(two_channel_model, tmp_path / "t", tmp_path / "x", series=rules[:1])


def test_channels_of_one_frame_of_reference_are_brought_together_on_record(
    two_channel_model: Path, tmp_path: Path, call: Predict
) -> None:
    mr = {"Modality": "MR"}
    planted_series(
        tmp_path / "t" / "1", SeriesDescription="T1", shape=(24, 28, 10), **mr
    )
    planted_series(
        tmp_path / "t" / "2", SeriesDescription="FLAIR", shape=(24, 28, 8), **mr
    )
    rules = ["t1:Description~t1", "flair:Description~flair"]
    (line,) = call(two_channel_model, tmp_path / "t", tmp_path / "out", series=rules)
    assert line.status == "done"
    assert any("resampled onto the grid" in note for note in line.warnings)
    strict = ScanOptions(strict=True)
    (line,) = call(
        two_channel_model, tmp_path / "t", tmp_path / "s", series=rules, options=strict
    )
    assert "register the channels first" in line.reason


# --- killed, crowded and full --------------------------------------------------------


def test_two_calls_do_not_share_a_folder_and_the_owner_is_named(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")
    with (
        lock_folder(tmp_path / "out"),
        pytest.raises(OutputError, match=r"another medseg \(process \d+ on"),
    ):
        call(model, tmp_path / "tree", tmp_path / "out")
    assert statuses(call(model, tmp_path / "tree", tmp_path / "out")) == {"a": "done"}


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; "
        "from medseg.folder_lock import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(99)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    (tmp_path / ".0123abcd.part.x.nii.gz").write_bytes(b"half")
    with pytest.raises(OutputError), lock_folder(tmp_path):
        pass
    process.kill()
    process.wait()
    assert (tmp_path / OWNER).exists()
    with lock_folder(tmp_path):
        assert not list(tmp_path.glob("*.part.*"))
    assert not (tmp_path / OWNER).exists()


def failing(code: int) -> Callable[..., Any]:
    def write(*args: Any, **options: Any) -> None:
        raise OutputError("x: cannot be written") from OSError(code, "planted")

    return write


def test_a_full_disk_ends_the_batch_with_its_table(
    model: Path, tmp_path: Path, call: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        scan_like(tmp_path / "tree" / f"{number}.nii.gz", seed=number)
    monkeypatch.setattr(
        "medseg.prediction.segmenter.write_label_map", failing(errno.ENOSPC)
    )
    with pytest.raises(OutputError, match="cannot be written"):
        call(model, tmp_path / "tree", tmp_path / "out")


def test_one_result_that_may_not_be_written_fails_alone(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    for name in ("a", "b"):
        scan_like(tmp_path / "tree" / f"{name}.nii.gz")
    (tmp_path / "out" / "a.nii.gz").mkdir(parents=True)
    lines = call(model, tmp_path / "tree", tmp_path / "out")
    assert statuses(lines) == {"a": "failed", "b": "done"}
    assert "\n" not in lines[0].reason


def test_a_file_that_vanishes_is_a_line(
    model: Path, tmp_path: Path, call: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        scan_like(tmp_path / "tree" / f"{name}.nii.gz")
    load = Segmenter.load

    def load_and_lose(*args: Any, **options: Any) -> Segmenter:
        segmenter = load(*args, **options)
        read = Segmenter.read

        def lose(self: Segmenter, scan: Any, earlier: Any = None) -> ScanJob:
            if scan.name == "a":
                scan.files[0].unlink()
            return read(self, scan, earlier)

        monkeypatch.setattr(Segmenter, "read", lose)
        return segmenter

    monkeypatch.setattr(Segmenter, "load", load_and_lose)
    lines = call(model, tmp_path / "tree", tmp_path / "out")
    assert statuses(lines) == {"a": "failed", "b": "done"}
    assert "No such file" in lines[0].reason


def test_a_defect_of_a_reader_fails_one_scan(
    model: Path, tmp_path: Path, call: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")

    def broken(*args: Any, **options: Any) -> None:
        raise IndexError("planted")

    monkeypatch.setattr("medseg.prediction.segmenter.load_scan", broken)
    (line,) = call(model, tmp_path / "tree", tmp_path / "out")
    assert line.reason == "IndexError: planted"


def test_a_killed_call_is_continued(model: Path, tmp_path: Path, call: Predict) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    for number in range(40):
        scan_like(tree / f"{number:02d}.nii.gz", seed=number)
    command = [sys.executable, "-m", "medseg", "predict", str(model), str(tree)]
    process = subprocess.Popen([*command, "-o", str(out)], stderr=subprocess.DEVNULL)
    while len(list(out.glob("*.nii.gz"))) < 3 and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    before = len(table_of(out)) if (out / "predictions.csv").exists() else 0
    lines = call(model, tree, out, settings=InferenceSettings())
    assert {line.status for line in lines} <= {"done", "unchanged"}
    assert sum(line.status == "unchanged" for line in lines) >= before > 0
    assert len(list(out.glob("*.nii.gz"))) == 40
    assert not list(out.glob(".*part*"))


# --- names ---------------------------------------------------------------------------


def test_strange_names_make_safe_results(
    model: Path, tmp_path: Path, call: Predict
) -> None:
    tree = tmp_path / "tree"
    scan_like(tree / "good.nii.gz")
    names = [
        "=cmd|x",
        "new\nline",
        "ä ö",
        "x" * 200,
        b"caf\xe9".decode("utf-8", "surrogateescape"),
    ]
    for name in names:
        shutil.copy(tree / "good.nii.gz", tree / f"{name}.nii.gz")
    lines = call(model, tree, tmp_path / "out")
    assert {line.status for line in lines} == {"done"}
    assert len(lines) == 6
    for line in lines:
        assert line.scan.isprintable()
        assert not line.scan.startswith("=")
    assert len(table_of(tmp_path / "out")) == 6


def test_equal_names_are_told_apart(model: Path, tmp_path: Path, call: Predict) -> None:
    scan_like(tmp_path / "tree" / "a.nii.gz")
    scan_like(tmp_path / "tree" / "a.nrrd", seed=1)
    lines = call(model, tmp_path / "tree", tmp_path / "out")
    assert len({line.scan for line in lines}) == 2
    assert all(line.scan.startswith("a_") for line in lines)


def test_a_table_that_cannot_be_used_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_bytes(b"\xff\xfe rubbish")
    assert PredictionTable(tmp_path).earlier("a") is None


def test_a_real_full_disk_ends_with_code_2_and_no_half_file(
    model: Path, mount_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    small_disk = mount_disk("size=200k")
    for number in range(30):  # their label maps take 13 kB each, uncompressed
        scan_like(tmp_path / "tree" / f"{number:02d}.nii", seed=number)
    out = small_disk / "out"
    command = [sys.executable, "-m", "medseg", "predict", str(model)]
    done = subprocess.run(
        [*command, str(tmp_path / "tree"), "-o", str(out), "--device", "cpu"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.glob(".*part*"))
    written = list(out.glob("*.nii"))
    assert 0 < len(written) < 30
    for path in written:
        assert read_label_map(path).voxels.shape == (24, 28, 20)
