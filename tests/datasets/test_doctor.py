"""The doctor finds each thing that is planted, and nothing in a sound data set."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medseg.datasets.doctor import Report, examine, format_report, write_report
from medseg.errors import DatasetError, OutputError
from medseg.geometry import affine_from_spacing
from medseg.io import read_label_map, read_volume, write_label_map, write_volume
from medseg.labels import LabelScheme
from medseg.testing.tiny_study import make_tiny_study
from medseg.volume import LabelMap, Volume

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
NAME = "tiny_002.nii.gz"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_tiny_study(tmp_path / "study", num_cases=4, shape=(8, 9, 7))


def kinds(report: Report) -> list[tuple[str, str]]:
    return [(finding.kind, finding.case_id) for finding in report.findings]


def change_image(study: Path, voxels: object = None, affine: object = None) -> None:
    path = study / "imagesTr" / NAME
    image = read_volume(path)
    changed = image.voxels if voxels is None else voxels(image.voxels)
    write_volume(path, Volume(changed, image.affine if affine is None else affine))


def change_label(study: Path, voxels: object = None, affine: object = None) -> None:
    path = study / "labelsTr" / NAME
    label = read_label_map(path)
    changed = label.voxels if voxels is None else voxels(label.voxels)
    write_label_map(path, LabelMap(changed, label.affine if affine is None else affine))


def set_first(value: float):
    def change(voxels: np.ndarray) -> np.ndarray:
        changed = voxels.copy()
        changed.flat[0] = value
        return changed

    return change


def shifted(affine: np.ndarray, axis: int, by: float) -> np.ndarray:
    changed = affine.copy()
    changed[axis, 3] += by
    return changed


SOUND = affine_from_spacing((1.0, 1.0, 1.5))
PLANTS = {
    "missing": lambda s: (s / "imagesTr" / NAME).unlink(),
    "unreadable": lambda s: (s / "imagesTr" / NAME).write_bytes(b"\x1f\x8b truncated"),
    "geometry": lambda s: change_image(s, affine=SOUND + np.eye(4, k=1) * 0.5),
    "channels": lambda s: change_image(s, voxels=lambda v: np.concatenate([v, v + 1])),
    "shape": lambda s: change_label(s, voxels=lambda v: v[:-1]),
    "spacing": lambda s: change_label(s, affine=affine_from_spacing((1.0, 1.0, 1.0))),
    "origin": lambda s: change_label(s, affine=shifted(SOUND, 2, 40)),
    "direction": lambda s: change_label(s, affine=SOUND @ np.diag([-1.0, 1, 1, 1])),
    "not finite": lambda s: change_image(s, voxels=set_first(np.nan)),
    "constant": lambda s: change_image(s, voxels=np.zeros_like),
    "label values": lambda s: change_label(s, voxels=set_first(7)),
    "empty label": lambda s: change_label(s, voxels=np.zeros_like),
}


@pytest.mark.parametrize("kind", PLANTS)
def test_what_is_planted_is_found_and_nothing_else(study, kind):
    PLANTS[kind](study)
    report = examine(study)
    assert kinds(report) == [(kind, "tiny_002")]
    assert report.exit_code == 1
    finding = report.findings[0]
    assert finding.message
    assert finding.repair
    assert finding.file is not None
    assert finding.file.name == NAME


def test_a_sound_data_set_is_clean(study):
    report = examine(study)
    assert report.findings == ()
    assert report.exit_code == 0
    assert report.verdict == "nothing to complain about"


def test_nothing_on_disk_changes(study):
    for plant in ("missing", "empty label"):
        PLANTS[plant](study)
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    examine(study)
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


def test_one_bad_file_hides_no_other(study):
    PLANTS["unreadable"](study)
    (study / "labelsTr" / "tiny_000.nii.gz").unlink()
    found = kinds(examine(study, workers=2))
    assert found == [("missing", "tiny_000"), ("unreadable", "tiny_002")]


def test_the_same_scan_twice_is_found_though_stored_differently(study):
    image = read_volume(study / "imagesTr" / "tiny_003.nii.gz")
    copy = Volume(image.voxels.astype(np.float64), image.affine)
    write_volume(study / "imagesTr" / NAME, copy)
    (finding,) = examine(study).findings
    assert (finding.kind, finding.case_id) == ("same scan", "tiny_002, tiny_003")
    assert "different patients" in finding.message


def test_the_same_label_map_twice_is_found(study):
    shutil.copy(study / "labelsTr" / "tiny_003.nii.gz", study / "labelsTr" / NAME)
    assert kinds(examine(study)) == [("same label", "tiny_002, tiny_003")]


def test_channels_that_are_copies_are_found(tmp_path):
    study = make_tiny_study(tmp_path, num_cases=3, shape=(8, 9, 7), num_channels=2)
    change_image(study, voxels=lambda v: v[[0, 0]])
    (finding,) = examine(study).findings
    assert finding.message == "channels synthetic0 and synthetic1 hold the same voxels"


def test_whole_numbers_stored_as_floats_are_a_warning(study):
    path = study / "labelsTr" / NAME
    label = read_label_map(path)
    write_volume(path, Volume(label.voxels[None].astype(np.float32), label.affine))
    (finding,) = examine(study).findings
    assert (finding.kind, finding.severity) == ("label type", "warning")


def test_a_probability_map_is_no_label_map(study):
    path = study / "labelsTr" / NAME
    label = read_label_map(path)
    write_volume(path, Volume(label.voxels[None] * np.float32(0.3), label.affine))
    (finding,) = examine(study).findings
    assert "expected whole numbers" in finding.message


def test_a_mask_of_255_gets_the_description_it_needs(study):
    scheme = LabelScheme(names={"organ": 1})
    for path in (study / "labelsTr").iterdir():
        label = read_label_map(path)
        mask = np.where(label.voxels > 0, 255, 0).astype(np.uint8)
        write_label_map(path, LabelMap(mask, label.affine))
    report = examine(study, scheme=scheme)
    assert len(report.findings) == 4
    assert report.findings[0].repair.endswith("say labels: {organ: 255}")


def test_files_without_a_partner_are_found_and_compared(study, tmp_path):
    shutil.copy(study / "labelsTr" / "tiny_001.nii.gz", study / "labelsTr" / "x.nii.gz")
    (finding,) = examine(study).findings
    assert finding.kind == "lone label"
    assert "the voxels are those of tiny_001" in finding.message


def test_a_patient_in_two_folds_is_found(study):
    rows = [f"tiny_00{n},p{n // 2},{n}" for n in range(4)]
    lines = [
        f"{row},imagesTr/{row[:8]}.nii.gz,labelsTr/{row[:8]}.nii.gz" for row in rows
    ]
    text = "\n".join(["case_id,patient_id,fold,image,label", *lines])
    (study / "manifest.csv").write_text(text)
    report = examine(study)
    assert kinds(report) == [
        ("folds", "tiny_000, tiny_001"),
        ("folds", "tiny_002, tiny_003"),
    ]
    message = "fold 0 trains on tiny_001 and validates on tiny_000, both of patient p0"
    assert message in report.findings[0].message


def test_a_repaired_header_is_mentioned(study):
    leaning = SOUND.copy()
    leaning[0, 1] = 5e-4
    change_image(study, affine=leaning)
    (finding,) = examine(study).findings
    assert (finding.kind, finding.case_id) == ("header", "tiny_002")


def test_a_background_that_is_the_structure_is_suspected(tmp_path):
    for number in range(3):
        voxels = np.full((1, 6, 6, 6), 255, dtype=np.uint8)
        voxels[0, :2, :, number] = 0
        noise = np.random.default_rng(number).normal(size=voxels.shape)
        write_volume(tmp_path / "images" / f"{number}.nii.gz", Volume(noise, np.eye(4)))
        label = LabelMap(voxels[0], affine_from_spacing((1.0, 1.0, 1.0)))
        write_label_map(tmp_path / "labels" / f"{number}.nii.gz", label)
    messages = [finding.message for finding in examine(tmp_path).findings]
    assert any("structures fill 94% of all voxels" in message for message in messages)
    assert any("lost the geometry" in message for message in messages)


def test_the_report_is_written_in_every_form(study, tmp_path):
    PLANTS["missing"](study)
    report = examine(study)
    for suffix in (".csv", ".json", ".html", ".txt"):
        write_report(tmp_path / f"report{suffix}", report)
    with (tmp_path / "report.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row == report.rows[0]
    assert row["file"] == f"imagesTr/{NAME}"
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["findings"] == report.rows
    page = (tmp_path / "report.html").read_text()
    assert '<td class="text" data-label="kind">missing</td>' in page
    assert (tmp_path / "report.txt").read_text() == format_report(report) + "\n"


def test_another_suffix_is_refused(study, tmp_path):
    with pytest.raises(OutputError, match=r"not as '\.pdf'"):
        write_report(tmp_path / "report.pdf", examine(study))


def test_a_long_report_is_cut_on_the_terminal(study):
    for path in (study / "imagesTr").iterdir():
        path.unlink()
    text = format_report(examine(study), most=1)
    assert "and 3 more" in text
    assert text.endswith("4 errors, 0 warnings (missing 4)")


@pytest.mark.skipif(not DATA.is_dir(), reason="no data beside the checkout")
class TestOnRealData:
    def test_broken_files_are_all_named(self):
        with pytest.raises(DatasetError, match="no image belongs to a label") as error:
            examine(DATA / "broken" / "hippocampus")  # nothing in it belongs together
        for name in ("hippocampus_118", "hippocampus_010", "hippocampus_281"):
            assert f"{name}.nii.gz" in str(error.value)

    def test_broken_files_among_sound_ones(self, tmp_path):
        sound, broken = DATA / "hippocampus", DATA / "broken" / "hippocampus"
        (tmp_path / "images").mkdir()
        (tmp_path / "labels").mkdir()
        for number in ("011", "014", "015"):
            name = f"hippocampus_{number}.nii.gz"
            shutil.copy(sound / "imagesTr" / name, tmp_path / "images" / name)
            shutil.copy(sound / "labelsTr" / name, tmp_path / "labels" / name)
        for path in (*broken.glob("images/*.gz"), *broken.glob("labels/*.gz")):
            shutil.copy(path, tmp_path / path.parent.name / path.name)
        shutil.copy(
            tmp_path / "labels" / "hippocampus_281.nii.gz",
            tmp_path / "labels" / "hippocampus_015.nii.gz",
        )
        report = examine(tmp_path)
        by_file = {f.file.name: f for f in report.findings if f.file}
        wrong = by_file["hippocampus_015.nii.gz"].message
        assert wrong == "shape (512, 512, 94), expected (42, 51, 28)"
        twin = by_file["hippocampus_010.nii.gz"].message
        assert "the voxels are those of hippocampus_011" in twin
        assert by_file["hippocampus_118.nii.gz"].kind == "lone image"

    def test_filled_in_sequences_are_those_that_the_table_lists(self):
        with (DATA / "glioma_3d" / "manifest.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        columns = ("pre_equals_flair", "post_equals_flair")
        filled = {r["patient"] for r in rows if "True" in [r[c] for c in columns]}
        report = examine(DATA / "glioma_3d")
        found = {f.case_id for f in report.findings if f.kind == "equal channels"}
        assert found == filled
