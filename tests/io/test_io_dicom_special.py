"""Enhanced objects, PET uptake, pseudonyms and sheared grids."""

import stat
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_phantom import ORIENTATIONS, voxels, write_series
from pydicom.dataset import Dataset

from medseg.errors import UnreadableFileError
from medseg.geometry import Grid
from medseg.io import read_volume
from medseg.io.dicom import find_series, read_series
from medseg.io.identity import load_pseudonymizer
from medseg.io.straight import straight_grid, straightened
from medseg.volume import Volume


@pytest.mark.parametrize("plane", ["oblique", "coronal"])
def test_enhanced_object_reads_as_its_slices(tmp_path: Path, plane: str) -> None:
    stored = voxels((16, 18, 5))
    extra = {
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyID": "1",
        "StudyTime": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Manufacturer": "M",
        "PatientPosition": "HFS",
        "KVP": "120",
        "AcquisitionNumber": 1,
        "ContentDate": "20200101",
        "ContentTime": "101010",
    }
    folder = tmp_path / "classic"
    paths = write_series(
        folder, stored, orientation=ORIENTATIONS[plane], RescaleIntercept=-10, **extra
    )
    classic = read_volume(folder)
    (tmp_path / "enhanced").mkdir()
    enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
        [pydicom.dcmread(path) for path in reversed(paths)],
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
    )
    enhanced.save_as(tmp_path / "enhanced" / "multi")
    volume = read_volume(tmp_path / "enhanced")
    np.testing.assert_array_equal(volume.voxels, classic.voxels)
    np.testing.assert_allclose(volume.affine, classic.affine, atol=1e-6)


def pet(**elements: object) -> dict[str, object]:
    item = Dataset()
    item.RadionuclideTotalDose = 400e6
    item.RadionuclideHalfLife = 6600
    item.RadiopharmaceuticalStartTime = "090000"
    values: dict[str, object] = {
        "Modality": "PT",
        "Units": "BQML",
        "CorrectedImage": "ATTN\\DECY",
        "DecayCorrection": "START",
        "PatientWeight": 80,
        "SeriesDate": "20200101",
        "SeriesTime": "105000.5",
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "105000.5",
        "RadiopharmaceuticalInformationSequence": pydicom.Sequence([item]),
    }
    return {**values, **elements}


def uptake(folder: Path, **elements: object) -> tuple[np.ndarray, str]:
    chosen = pet(**elements)
    sequence = chosen.pop("RadiopharmaceuticalInformationSequence")
    chosen["RadiopharmaceuticalInformationSequence"] = [sequence] * 5
    write_series(folder, voxels(), **{k: v for k, v in chosen.items() if v is not None})
    scan = read_series(find_series(folder).volumes[0])
    return scan.volume.voxels[0], str(scan.corrections[0])


def test_pet_becomes_suv_by_dose_decay_and_weight(tmp_path: Path) -> None:
    # 110 minutes: one half-life, so half of 400 MBq is left in 80 kg.
    measured, note = uptake(tmp_path)
    np.testing.assert_allclose(measured, voxels() * (80_000 / 200e6), rtol=1e-6)
    assert note.startswith("suv: ")


@pytest.mark.parametrize(
    ("elements", "factor"),
    [
        ({"DecayCorrection": "ADMIN"}, 80_000 / 400e6),
        ({"SeriesTime": "235959"}, 80_000 / 200e6),  # reconstructed in the evening
        ({"Units": "GML"}, 1.0),
    ],
)
def test_pet_variants(
    tmp_path: Path, elements: dict[str, object], factor: float
) -> None:
    measured, _ = uptake(tmp_path, **elements)
    np.testing.assert_allclose(measured, voxels() * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PatientWeight": None}, "PatientWeight is absent"),
        ({"Units": "CNTS"}, "units are CNTS"),
        ({"CorrectedImage": "DECY"}, "not corrected"),
        ({"DecayCorrection": "NONE"}, "do not fit together"),
    ],
)
def test_pet_without_what_suv_needs_stays_activity(
    tmp_path: Path, elements: dict[str, object], reason: str
) -> None:
    measured, note = uptake(tmp_path, **elements)
    np.testing.assert_array_equal(measured, voxels())
    assert note.startswith("activity: no SUV: ")
    assert reason in note


def test_pseudonyms_are_stable_secret_and_keyed(tmp_path: Path) -> None:
    names = load_pseudonymizer(tmp_path / "a" / "key")
    again = load_pseudonymizer(tmp_path / "a" / "key")
    other = load_pseudonymizer(tmp_path / "b" / "key")
    assert names.name("1.2.3") == again.name("1.2.3") != other.name("1.2.3")
    assert len(names.name("1.2.3")) == 12
    assert stat.S_IMODE((tmp_path / "a" / "key").stat().st_mode) == 0o600
    assert names.key.hex() not in repr(names)
    (tmp_path / "short").write_text("abcd")
    with pytest.raises(UnreadableFileError, match="a key of 2 bytes, expected 32"):
        load_pseudonymizer(tmp_path / "short")


def test_straight_grid_holds_the_sheared_one() -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[1, 2] = -2.0  # one row back for each slice
    stored = np.ones((1, 3, 4, 5), np.int16) * np.arange(1, 6, dtype=np.int16)
    grid = straight_grid(Grid((3, 4, 5), affine))
    assert grid.shape == (3, 8, 5)
    assert grid.spacing == pytest.approx((1, 2, 3))
    straight = straightened(Volume(stored, affine))
    for k in range(5):
        inside = straight.voxels[0, :, 4 - k : 8 - k, k]
        np.testing.assert_array_equal(inside, k + 1)
    np.testing.assert_array_equal(straight.affine @ [0, 4, 0, 1], affine @ [0, 0, 0, 1])
