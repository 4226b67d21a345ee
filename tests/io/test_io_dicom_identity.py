"""Slices of two patients, blank and repeated identifiers, odd bits and padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_phantom import voxels, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from medseg.errors import UnreadableFileError
from medseg.io import read_volume
from medseg.io.dicom import find_series, read_series


def two(folder: Path, *elements: dict[str, Any]) -> None:
    """Two series of other voxels, the second in another folder."""
    for number, own in enumerate(elements):
        same = {"series_uid": "1.2.3", "InstanceNumber": [1, 2, 3, 4, 5]}
        write_series(folder / f"set{number}", voxels(seed=number), **(same | own))


def volumes_of(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    found = find_series(folder).volumes
    return [read_series(s).volume.voxels[0] for s in found], [s.part for s in found]


@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        ({"PatientID": "A"}, {"PatientID": "B"}, ["patient01", "patient02"]),
        ({"PatientName": "A^A"}, {"PatientName": "B^B"}, ["patient01", "patient02"]),
        (
            {"PatientID": "A", "PatientName": ""},
            {"PatientID": "B", "PatientName": ""},
            ["patient01", "patient02"],
        ),
        ({}, {}, ["folder01", "folder02"]),
        ({"PatientID": ""}, {"PatientID": ""}, ["folder01", "folder02"]),
        (
            {"EchoTime": [1, 2, 1, 2, 1]},
            {"EchoTime": [2, 1, 2, 1, 2]},
            ["folder01", "folder02"],
        ),
    ],
)
def test_slices_of_two_patients_are_never_one_volume(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], parts: list[str]
) -> None:
    two(tmp_path, first, second)
    read, names = volumes_of(tmp_path)
    assert names == parts
    for number, found in enumerate(read):
        np.testing.assert_array_equal(found, voxels(seed=number))


@pytest.mark.parametrize("where", ["folders", "numbers", "patients"])
def test_blank_identifiers_give_way_to_what_is_there(
    tmp_path: Path, where: str
) -> None:
    blank = {"study_uid": "", "frame_uid": "", "series_uid": ""}
    for number in range(2):
        own = {
            "SeriesNumber": number if where == "numbers" else 3,
            "PatientID": str(number) if where == "patients" else "P",
        }
        folder = tmp_path / (f"set{number}" if where == "folders" else "set")
        for path in write_series(
            tmp_path / "tmp", voxels(seed=number), SeriesInstanceUID="", **own, **blank
        ):
            folder.mkdir(exist_ok=True)
            path.rename(folder / f"{number}_{path.name}")
    read, _ = volumes_of(tmp_path)
    assert len(read) == 2
    for number, found in enumerate(read):
        np.testing.assert_array_equal(found, voxels(seed=number))


@pytest.mark.parametrize("element", ["PatientID", "PatientName"])
def test_slices_without_a_patient_belong_to_the_only_one(
    tmp_path: Path, element: str
) -> None:
    both = {"PatientID": ["P", "P", "", "P", "P"], "PatientName": ["N^N"] * 5}
    both["PatientName"][2] = ""
    write_series(tmp_path, voxels(), **both)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels[0], voxels())


def test_one_identifier_for_all_slices_makes_no_copies(tmp_path: Path) -> None:
    write_series(tmp_path, voxels(), SOPInstanceUID="1.2.3.4")
    scan = read_series(find_series(tmp_path).volumes[0])
    np.testing.assert_array_equal(scan.volume.voxels[0], voxels())


def implicit(folder: Path) -> None:
    """Rewrites every file in implicit VR, as many scanners store."""
    for path in folder.iterdir():
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)


def padded(folder: Path, vr: str, value: Any, **elements: Any) -> np.ndarray:
    """A CT whose corner is padded with −2000 below an intercept of −1024."""
    stored = voxels().astype(np.int16)
    stored[0, 0, :] = -2000
    for path in write_series(folder, stored, RescaleIntercept=-1024):
        dataset = dcmread(path)
        dataset.add_new(0x00280120, vr, value)
        for keyword, number in elements.items():
            setattr(dataset, keyword, number)
            dataset[keyword].VR = "SS"
        dataset.save_as(path)
    return stored


@pytest.mark.parametrize("encoding", ["implicit", "explicit"])
@pytest.mark.parametrize(
    ("vr", "value"),
    [("SS", -2000), ("US", 63536), ("OW", b"\x30\xf8"), ("LO", "-2000"), ("US", None)],
)
def test_padding_is_read_as_the_pixels_are(
    tmp_path: Path, encoding: str, vr: str, value: Any
) -> None:
    stored = padded(
        tmp_path, vr, value, SmallestImagePixelValue=-2000, LargestImagePixelValue=1999
    )
    if encoding == "implicit" and vr == "LO":
        return  # implicit VR has no text here
    if encoding == "implicit":
        implicit(tmp_path)
    scan = read_series(find_series(tmp_path).volumes[0])
    lowest = stored[stored > -2000].min() if value is not None else -2000
    assert scan.volume.voxels[0, 0, 0, 0] == lowest - 1024
    np.testing.assert_array_equal(scan.volume.voxels[0, 1:], stored[1:] - 1024)


@pytest.mark.parametrize("encoding", ["implicit", "explicit"])
def test_so_is_the_range_of_padding(tmp_path: Path, encoding: str) -> None:
    stored = padded(tmp_path, "SS", -2000, PixelPaddingRangeLimit=-1990)
    if encoding == "implicit":
        implicit(tmp_path)
    scan = read_series(find_series(tmp_path).volumes[0])
    assert scan.volume.voxels.min() == stored[stored > -1990].min() - 1024


@pytest.mark.parametrize(
    ("shift", "high_bit", "signed"),
    [(4, 15, False), (4, 15, True), (2, 13, False), (2, 13, True)],
)
def test_values_above_empty_bits_are_shifted_down(
    tmp_path: Path, shift: int, high_bit: int, signed: bool
) -> None:
    stored = (voxels() % 2000).astype(np.int16 if signed else np.uint16)
    values = stored - np.int16(1000) if signed else stored
    bits = {"BitsStored": 12, "HighBit": high_bit}
    write_series(tmp_path, (values << shift).astype(values.dtype), **bits)
    scan = read_series(find_series(tmp_path).volumes[0])
    np.testing.assert_array_equal(scan.volume.voxels[0], values)
    assert [c.kind for c in scan.corrections] == ["bits"]


@pytest.mark.parametrize("high_bit", [15, 7, 99])
def test_a_high_bit_that_the_pixels_contradict_is_ignored(
    tmp_path: Path, high_bit: int
) -> None:
    write_series(tmp_path, voxels(), BitsStored=12, HighBit=high_bit)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels[0], voxels())


def test_bits_are_those_of_each_slice(tmp_path: Path) -> None:
    stored = voxels()
    stored[:, :, 0] &= 0xFF
    stored[:, :, 1:] |= 0x1000
    bits = [8, 16, 16, 16, 16]
    write_series(tmp_path, stored, BitsStored=bits, HighBit=[b - 1 for b in bits])
    np.testing.assert_array_equal(read_volume(tmp_path).voxels[0], stored)


@pytest.mark.parametrize("value", ["two", "1\\2"])
def test_a_rescale_that_is_no_number_is_never_one(tmp_path: Path, value: str) -> None:
    for path in write_series(tmp_path, voxels()):
        dataset: Dataset = dcmread(path)
        del dataset.RescaleSlope
        dataset.add_new(0x00281053, "LO", value.split("\\"))
        dataset.save_as(path)
    with pytest.raises(UnreadableFileError, match=r"damaged \(RescaleSlope holds"):
        read_volume(tmp_path)
