"""Names, numbers and dates of headers, and where conversion must not show them."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from dicom_phantom import voxels, write_series
from pydicom import dcmread

from medseg.console import Console
from medseg.conversion.convert import convert
from medseg.conversion.dicom_export import file_tree
from medseg.io import read_volume, write_label_map
from medseg.volume import LabelMap

UID = "1.2.826.0.1.3680043.8.498.20310704.77"
HEADER = {
    "PatientID": "PID-77123",
    "AccessionNumber": "ACC-99887",
    "PatientBirthDate": "19480229",
    "StudyDate": "20310704",
    "SeriesDescription": "of ZEBULON 20310705",
    "series_uid": UID,
}
SECRETS = ("zebulon", "PID-77123", "ACC-99887", "19480229", "2031070", UID, "77123")


@pytest.mark.parametrize("name", ["ZEBULON", "Zebulon^Adam", "Segmentation^Zebulon"])
@pytest.mark.parametrize("folder", ["{name}", "19480229_zebulon", UID, "ACC-99887 ct"])
def test_nothing_that_is_written_or_said_names_the_patient(
    tmp_path: Path,
    name: str,
    folder: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = tmp_path / "in" / folder.format(name=name.replace("^", "_"))
    write_series(place, voxels(), PatientName=name, **HEADER)
    (broken,) = write_series(
        place / "b", voxels((7, 6, 1)), PatientName=name, PixelSpacing=None
    )
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        key = tmp_path / "key"
        done = convert(
            tmp_path / "in", tmp_path / "out", key_path=key, progress=Console()
        )
        assert done.count("done") == done.count("failed") == 1, broken
        (image,) = (tmp_path / "out").glob("*.nii.gz")
        grid = read_volume(image).grid
        labels = np.zeros(grid.shape, np.uint8)
        labels[2:5, 2:5, 1:3] = 1
        (tmp_path / "labels").mkdir()
        write_label_map(tmp_path / "labels" / image.name, LabelMap(labels, grid.affine))
        filed = file_tree(
            tmp_path / "labels",
            tmp_path / "in",
            tmp_path / "objects",
            key_path=key,
            progress=Console(),
        )
    assert filed.count("done") == 1
    (segmentation,) = (tmp_path / "objects").glob("*.dcm")
    assert dcmread(segmentation).PatientName == name  # it must be filed
    said = capfd.readouterr()
    texts = [said.out, said.err, caplog.text, *(str(w.message) for w in caught)]
    for table in tmp_path.glob("*/*.csv"):
        texts.append(table.read_text())
    texts += [
        path.name for out in ("out", "objects") for path in (tmp_path / out).iterdir()
    ]
    for secret in SECRETS:
        for text in texts:
            assert secret.lower() not in text.lower()


def test_a_folder_with_nothing_to_convert_is_no_success(tmp_path: Path) -> None:
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ImagePositionPatient": None}
    write_series(tmp_path / "in", voxels(), **capture)
    done = convert(tmp_path / "in", tmp_path / "out", key_path=tmp_path / "key")
    assert done.exit_code == 1
    assert done.describe() == "0 converted, 1 set aside"
    write_series(tmp_path / "in" / "scan", voxels())
    done = convert(tmp_path / "in", tmp_path / "out", key_path=tmp_path / "key")
    assert done.exit_code == 0
    again = convert(tmp_path / "in", tmp_path / "out", key_path=tmp_path / "key")
    assert (again.describe(), again.exit_code) == (
        "0 converted, 1 unchanged, 1 set aside",
        0,
    )
