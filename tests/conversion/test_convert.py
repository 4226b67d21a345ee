"""``convert``: everything found, named, pseudonymous; nothing stops the batch."""

import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "io"))
from dicom_phantom import voxels, write_series

from medseg.conversion.convert import convert
from medseg.conversion.file_labels import DicomObject, file_label_map, file_labels
from medseg.conversion.table import TABLE, ConversionSummary
from medseg.errors import InputError, SettingsError
from medseg.io import read_label_map, read_volume
from medseg.io.dicom import find_series, read_series
from medseg.io.dicom.label_objects.segmentation_writing import SegmentationType
from medseg.labels import LabelScheme
from medseg.volume import LabelMap


def run(scans: Path, out: Path, **options: object) -> ConversionSummary:
    return convert(scans, out, key_path=out.parent / "key", **options)  # type: ignore[arg-type]


def statuses(summary: ConversionSummary) -> list[str]:
    return [conversion.status for conversion in summary.conversions]


def mixed_tree(folder: Path) -> Path:
    write_series(folder / "ct", voxels())
    write_series(
        folder / "cap", voxels((4, 4, 1)), SOPClassUID="1.2.840.10008.5.1.4.1.1.7"
    )
    nib.save(
        nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), folder / "a.nii.gz"
    )
    (folder / "cut.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:60])
    (folder / "cut.dcm").write_bytes((folder / "ct" / "IM000").read_bytes()[:400])
    (folder / "notes.txt").write_text("rubbish")
    return folder


def test_every_scan_has_its_line(tmp_path: Path) -> None:
    summary = run(mixed_tree(tmp_path / "in"), tmp_path / "out")
    assert sorted(statuses(summary)) == [
        "done",
        "done",
        "failed",
        "failed",
        "set aside",
    ]
    assert summary.exit_code == 1
    with (tmp_path / "out" / TABLE).open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5
    assert all(row["reason"] for row in rows if row["status"] != "done")
    done = (row for row in rows if row["status"] == "done")
    ct = next(row for row in done if row["name"].startswith("ct_"))
    volume = read_volume(tmp_path / "out" / ct["output"])
    np.testing.assert_array_equal(volume.voxels[0], voxels())


def test_second_call_does_only_what_changed(tmp_path: Path) -> None:
    run(mixed_tree(tmp_path / "in"), tmp_path / "out")
    assert statuses(run(tmp_path / "in", tmp_path / "out")).count("unchanged") == 2
    nib.save(
        nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)),
        tmp_path / "in/a.nii.gz",
    )
    assert statuses(run(tmp_path / "in", tmp_path / "out")).count("done") == 1


def test_a_scan_that_turned_bad_leaves_no_volume_of_its_former_self(
    tmp_path: Path,
) -> None:
    scan = tmp_path / "in" / "a.nii.gz"
    scan.parent.mkdir()
    nib.save(nib.Nifti1Image(np.ones((9, 8, 7), np.int16), np.eye(4)), scan)
    run(scan.parent, tmp_path / "out")
    assert (tmp_path / "out" / "a.nii.gz").is_file()
    scan.write_bytes(scan.read_bytes()[:60])
    assert statuses(run(scan.parent, tmp_path / "out")) == ["failed"]
    assert not (tmp_path / "out" / "a.nii.gz").exists()


def test_strict_refuses_and_says_why(tmp_path: Path) -> None:
    write_series(tmp_path / "in", voxels(), tilt=0.3)
    loose = run(tmp_path / "in", tmp_path / "loose").conversions[0]
    assert loose.corrections.startswith("tilt: ")
    strict = run(tmp_path / "in", tmp_path / "strict", strict=True).conversions[0]
    assert (strict.status, strict.output) == ("failed", "")
    assert "refused as strict: tilt" in strict.reason


def test_rule_chooses_and_names_the_others(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", voxels(), SeriesDescription="Thorax 5mm")
    write_series(tmp_path / "in" / "b", voxels(), SeriesDescription="Head")
    rule = "Modality=CT, Description~thorax, Slices>3"
    summary = run(tmp_path / "in", tmp_path / "out", series=rule)
    assert sorted(statuses(summary)) == ["done", "set aside"]
    with pytest.raises(SettingsError, match="unknown key Colour"):
        run(tmp_path / "in", tmp_path / "out", series="Colour=red")


def test_nothing_to_convert_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no scan found"):
        run(tmp_path / "in", tmp_path / "out")


SECRET = ("PLANTED", "4711secret", "19230405", "Secretville", "1.2.77.88")


def test_no_identity_leaves_the_objects(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    planted = {
        "PatientName": "PLANTED^Jane",
        "PatientID": "4711secret",
        "PatientBirthDate": "19230405",
        "StudyDate": "19230405",
        "AcquisitionTime": "192304",
        "StudyDescription": "PLANTED study",
        "SeriesDescription": "PLANTED Jane 19230405",
        "InstitutionName": "Secretville",
        "ProtocolName": "PLANTED",
        "ContrastBolusAgent": "PLANTED",
        "ConvolutionKernel": "PLANTED",
        "BodyPartExamined": "PLANTED",
        "Manufacturer": "PLANTED",
        "ImageComments": "PLANTED",
        "AccessionNumber": "4711secret",
    }
    folder = tmp_path / "in" / "PLANTED_Jane"
    write_series(folder / "good", voxels(), series_uid="1.2.77.88", tilt=0.2, **planted)
    write_series(
        folder / "bad",
        voxels((9, 9, 2)),
        heights=[0, 0],
        series_uid="1.2.77.88.2",
        **planted,
    )
    write_series(
        folder / "rgb", voxels((9, 9, 2)), PhotometricInterpretation="RGB", **planted
    )
    (folder / "cut.dcm").write_bytes((folder / "good" / "IM000").read_bytes()[:900])
    run(tmp_path / "in", tmp_path / "out")
    said = "".join(capfd.readouterr())
    texts = [said.encode()]
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes()
        if path.suffix == ".gz":
            import gzip

            content = gzip.decompress(content)
        texts += [path.name.encode(), content]
    for secret in SECRET:
        assert not any(secret.lower().encode() in text.lower() for text in texts), (
            secret
        )


def test_labels_of_a_tilted_image_land_on_its_straightened_grid(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "ct", np.full((6, 20, 5), 50, np.int16), tilt=0.32)
    series = find_series(tmp_path / "in" / "ct").volumes[0]
    sheared = read_series(series, allow_shear=True).volume
    labels = np.zeros(sheared.voxels.shape[1:], np.uint8)
    labels[2:4, 8:12] = 1
    scheme = LabelScheme(names={"tumour": 1})
    label_map = LabelMap(labels, sheared.affine)
    for kind in DicomObject:
        out = tmp_path / "in" / f"{kind.value}.dcm"
        file_label_map(label_map, series, out, scheme=scheme, as_object=kind)
    summary = run(tmp_path / "in", tmp_path / "out")
    filed = [line for line in summary.conversions if line.structures == "1 tumour"]
    assert len(filed) == 2
    for line in filed:
        back = read_label_map(tmp_path / "out" / line.output).voxels
        assert back.shape == (6, 24, 5)
        for k in range(5):  # 0.8 mm of shift for each slice: one row
            assert back[2:4, 8 + k : 12 + k, k].all()
        assert back.sum() == labels.sum()


def test_filed_labels_come_back_through_convert(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "ct", voxels((12, 14, 6)))
    image = read_volume(tmp_path / "in" / "ct")
    labels = np.zeros(image.voxels.shape[1:], np.uint8)
    labels[3:9, 3:9, 1:5] = 7
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "labels.nii.gz")
    for kind in DicomObject:
        written = file_labels(
            tmp_path / "labels.nii.gz",
            tmp_path / "in" / "ct",
            tmp_path / "in" / f"{kind.value}.dcm",
            names={"liver": 7},
            as_object=kind,
            kind=SegmentationType.BINARY,
        )
        assert written.num_voxels == {"liver": 144}
    summary = run(tmp_path / "in", tmp_path / "out")
    filed = [line for line in summary.conversions if line.structures == "1 liver"]
    assert len(filed) == 2
    for line in filed:
        back = read_label_map(tmp_path / "out" / line.output)
        np.testing.assert_array_equal(back.voxels, labels == 7)
