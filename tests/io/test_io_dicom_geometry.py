"""Geometry that headers lack, misspell or keep elsewhere: used, said or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_phantom import ORIENTATIONS, voxels, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from medseg.errors import GeometryError, InputError
from medseg.io import read_volume
from medseg.io.dicom import DicomScan, Series, find_series, read_series

NM = "1.2.840.10008.5.1.4.1.1.20"
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


def edited(folder: Path, edit: Callable[[Dataset, int], None], **elements: Any) -> Path:
    """A series of five slices whose headers are edited one by one."""
    for k, path in enumerate(write_series(folder, voxels(), **elements)):
        dataset = dcmread(path)
        edit(dataset, k)
        dataset.save_as(path)
    return folder


def scan_of(folder: Path) -> tuple[DicomScan, list[str]]:
    (series,) = find_series(folder).volumes
    scan = read_series(series)
    return scan, [str(correction) for correction in scan.corrections]


def spacing_as(vr: str, value: Any) -> Callable[[Dataset, int], None]:
    def edit(dataset: Dataset, _: int) -> None:
        del dataset.PixelSpacing
        if vr:
            dataset.add_new(0x00280030, vr, value)

    return edit


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        ("UT", "2.5000\\1.25"),
        ("LO", ["2.5", "1.25"]),
        ("UN", b"2.5000\\1.25 "),
        ("OB", b"2.5\\1.25"),
        ("FD", [2.5, 1.25]),
        ("UT", "2,5\\1,25"),
    ],
)
def test_spacing_of_any_representation_is_read(
    tmp_path: Path, vr: str, value: Any
) -> None:
    edited(tmp_path, spacing_as(vr, value), Modality="MR")
    scan, said = scan_of(tmp_path)
    assert scan.volume.grid.spacing == pytest.approx((1.25, 2.5, 2.5))
    assert said == []


@pytest.mark.parametrize("spacing", [spacing_as("", None), spacing_as("DS", None)])
@pytest.mark.parametrize("modality", ["MR", "CT", "OT"])
def test_without_spacing_a_slice_is_refused(
    tmp_path: Path, spacing: Callable[[Dataset, int], None], modality: str
) -> None:
    edited(tmp_path, spacing, Modality=modality)
    with pytest.raises(GeometryError, match="PixelSpacing is absent or empty"):
        read_volume(tmp_path)


def test_one_value_is_taken_for_both_and_said(tmp_path: Path) -> None:
    edited(tmp_path, spacing_as("DS", "2.5"))
    scan, said = scan_of(tmp_path)
    assert scan.volume.grid.spacing == pytest.approx((2.5, 2.5, 2.5))
    assert said == [
        "spacing: PixelSpacing holds one value, 2.5: taken for rows and columns"
    ]


@pytest.mark.parametrize(
    ("keyword", "where"),
    [("ImagerPixelSpacing", "detector"), ("NominalScannedPixelSpacing", "film")],
)
def test_spacing_elsewhere_is_used_and_said(
    tmp_path: Path, keyword: str, where: str
) -> None:
    write_series(tmp_path, voxels(), PixelSpacing=None, **{keyword: "2\\3"})
    scan, said = scan_of(tmp_path)
    assert scan.volume.grid.spacing == pytest.approx((3, 2, 2.5))
    assert said == [
        f"spacing: no PixelSpacing: {keyword} is used, as measured at the {where}"
    ]


def test_a_picture_without_spacing_or_place_is_a_picture(tmp_path: Path) -> None:
    bare = {"PixelSpacing": None, "ImagePositionPatient": None}
    write_series(tmp_path, voxels((7, 6, 1)), Modality="CR", **bare)
    scan, said = scan_of(tmp_path)
    assert scan.volume.grid.spacing[:2] == (1, 1)
    assert said == [
        "spacing: no PixelSpacing: 1 mm is taken",
        "place: the header gives no position",
    ]


@pytest.mark.parametrize("element", ["PixelSpacing", "ImageOrientationPatient"])
def test_what_one_slice_lacks_the_others_have(tmp_path: Path, element: str) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        if k == 0:
            delattr(dataset, element)

    edited(tmp_path, edit, orientation=ORIENTATIONS["sagittal"])
    scan, said = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.voxels[0], voxels())
    assert said == [f"header: 1 slices lack {element}; that of the others is taken"]


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal", "oblique"])
def test_without_orientation_only_axial_positions_are_believed(
    tmp_path: Path, plane: str
) -> None:
    write_series(
        tmp_path,
        voxels(),
        orientation=ORIENTATIONS[plane],
        ImageOrientationPatient=None,
    )
    if plane != "axial":
        with pytest.raises(GeometryError, match="ImageOrientationPatient is absent"):
            read_volume(tmp_path)
        return
    scan, said = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.voxels[0], voxels())
    assert said[0].startswith("orientation: no ImageOrientationPatient: axial")


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_slice_location_orders_slices_without_position(
    tmp_path: Path, modality: str
) -> None:
    bare = {"ImagePositionPatient": None, "Modality": modality}
    heights = [12.0, 9.0, 6.0, 3.0, 0.0]
    write_series(tmp_path / "with", voxels(), SliceLocation=heights, **bare)
    scan, said = scan_of(tmp_path / "with")
    np.testing.assert_array_equal(scan.volume.voxels[0], voxels()[:, :, ::-1])
    assert scan.volume.grid.spacing == pytest.approx((0.5, 0.8, 3))
    assert said[0].startswith("place: no ImagePositionPatient: slices lie at their")
    write_series(tmp_path / "without", voxels(), **bare)
    with pytest.raises(GeometryError, match="without ImagePositionPatient cannot"):
        read_volume(tmp_path / "without")


def multiframe(path: Path, **elements: Any) -> np.ndarray:
    """Five slices as one file without functional groups; the stored voxels."""
    stored = voxels()
    (first, *_) = write_series(path.parent / "tmp", stored)
    dataset = dcmread(first)
    dataset.NumberOfFrames = 5
    dataset.PixelData = np.ascontiguousarray(stored.T).tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    path.parent.mkdir(exist_ok=True)
    for rest in (path.parent / "tmp").iterdir():
        rest.unlink()
    (path.parent / "tmp").rmdir()
    dataset.save_as(path)
    return stored


def detector(**elements: Any) -> list[Dataset]:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return [item]


PLACE = {
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImagePositionPatient": [-100, -90, -50],
}


@pytest.mark.parametrize(
    ("elements", "step", "said"),
    [
        ({}, 2.5, "frames: 5 frames of one file lie 2.5 mm apart (SliceThickness)"),
        (
            {"SpacingBetweenSlices": 3},
            3.0,
            "frames: 5 frames of one file lie 3 mm apart (SpacingBetweenSlices)",
        ),
        (
            {
                "FrameIncrementPointer": 0x3004000C,
                "GridFrameOffsetVector": [0, 2, 4, 6, 8],
            },
            2.0,
            "frames: 5 frames of one file lie at their GridFrameOffsetVector",
        ),
        (
            {
                "SOPClassUID": NM,
                "Modality": "NM",
                "FrameIncrementPointer": 0x00540080,
                "SliceVector": [1, 2, 3, 4, 5],
                "SpacingBetweenSlices": 4.8,
                "ImagePositionPatient": None,
                "ImageOrientationPatient": None,
                "DetectorInformationSequence": detector(**PLACE),
            },
            4.8,
            "frames: 5 frames of one file lie 4.8 mm apart (SpacingBetweenSlices)",
        ),
    ],
)
def test_frames_without_functional_groups_are_slices(
    tmp_path: Path, elements: dict[str, Any], step: float, said: str
) -> None:
    stored = multiframe(tmp_path / "one", **elements)
    scan, told = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.voxels[0], stored)
    assert scan.volume.grid.spacing == pytest.approx((0.5, 0.8, step))
    assert told == [said]
    if "DetectorInformationSequence" in elements:
        assert scan.volume.affine[:3, 3].tolist() == [100, 90, -50]


def test_offsets_that_run_down_turn_the_stack(tmp_path: Path) -> None:
    stored = multiframe(tmp_path / "one", GridFrameOffsetVector=[30, 27, 24, 21, 18])
    scan, _ = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.voxels[0], stored[:, :, ::-1])
    assert scan.volume.affine[2, 3] == 18  # the last frame, 12 mm below the first


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": DOSE, "Modality": "RTDOSE"}, "a dose"),
        ({"SliceThickness": None}, "multi-frame without positions"),
        ({"FrameIncrementPointer": 0x00181063, "Modality": "XA"}, "a film"),
        ({"Modality": "US"}, "a film"),
        ({"Modality": "NM"}, "planar pictures"),
        (
            {"Modality": "NM", "FrameIncrementPointer": [0x00540050, 0x00540090]},
            "projections",
        ),
    ],
)
def test_frames_that_are_no_slices_are_never_one_slice(
    tmp_path: Path, elements: dict[str, Any], reason: str
) -> None:
    multiframe(tmp_path / "one", **elements)
    with pytest.raises(InputError, match=reason):
        read_volume(tmp_path)


def test_phases_of_a_gated_study_are_volumes(tmp_path: Path) -> None:
    stored = multiframe(
        tmp_path / "one",
        Modality="NM",
        NumberOfFrames=4,
        FrameIncrementPointer=[0x00540070, 0x00540080],
        TimeSlotVector=[1, 1, 2, 2],
        SliceVector=[1, 2, 1, 2],
    )
    volumes = find_series(tmp_path).volumes
    assert [series.part for series in volumes] == ["time01", "time02"]
    read = [read_series(series).volume.voxels[0] for series in volumes]
    np.testing.assert_array_equal(np.concatenate(read, axis=2), stored[:, :, :4])


@pytest.mark.parametrize("jitter", [0.0004, 0.002, 0.02])
@pytest.mark.parametrize("count", [2, 5])
def test_echoes_whose_positions_differ_by_rounding_are_volumes(
    tmp_path: Path, jitter: float, count: int
) -> None:
    for echo in range(count):
        heights = [2.5 * k + jitter * echo / count for k in range(5)]
        write_series(
            tmp_path / str(echo),
            voxels(seed=echo),
            heights=heights,
            series_uid="1.5",
            EchoTime=10.0 * echo,
        )
    volumes = find_series(tmp_path).volumes
    assert [s.part for s in volumes] == [f"echo{n + 1:02d}" for n in range(count)]
    for echo, series in enumerate(volumes):
        scan = read_series(series)
        np.testing.assert_array_equal(scan.volume.voxels[0], voxels(seed=echo))
        assert scan.corrections == ()


@pytest.mark.parametrize("step", [0.005, 0.05, 0.3])
def test_thin_slices_are_no_rounding(tmp_path: Path, step: float) -> None:
    write_series(tmp_path, voxels(), heights=[step * k for k in range(5)])
    scan, said = scan_of(tmp_path)
    assert scan.volume.voxels.shape == (1, 7, 6, 5)
    assert said == []


@pytest.mark.parametrize("elements", [{}, {"orientation": ORIENTATIONS["oblique"]}])
def test_values_that_flicker_make_one_volume(
    tmp_path: Path, elements: dict[str, Any]
) -> None:
    spacings = [[0.8 + 0.0002 * (k % 2), 0.5] for k in range(5)]
    write_series(tmp_path / "spacing", voxels(), PixelSpacing=spacings, **elements)
    scan, said = scan_of(tmp_path / "spacing")
    np.testing.assert_array_equal(scan.volume.voxels[0], voxels())
    assert said == [
        "spacing: PixelSpacing varies by 0.0002 mm; that of the first is taken"
    ]


def test_positions_that_flicker_are_no_tilt(tmp_path: Path) -> None:
    places = [[-10 + 0.03 * (k % 2), -20, 30 + 2.5 * k] for k in range(4)]
    write_series(tmp_path, voxels((7, 6, 4)), ImagePositionPatient=places)
    scan, said = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.voxels[0], voxels((7, 6, 4)))
    assert said == ["flicker: slices start up to 0.06 pixels beside each other"]


def test_slices_turned_in_their_plane_are_turned_back(tmp_path: Path) -> None:
    stored = voxels()
    for k, path in enumerate(write_series(tmp_path, stored)):
        dataset = dcmread(path)
        if k % 2:
            x, y, z = map(float, dataset.ImagePositionPatient)
            dataset.ImagePositionPatient = [x + 6 * 0.5, y + 5 * 0.8, z]
            dataset.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
            dataset.PixelData = dataset.pixel_array[::-1, ::-1].tobytes()
        dataset.save_as(path)
    scan, said = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.voxels[0], stored)
    assert said == ["turned: 2 slices lie turned by 180 degrees and were turned back"]


@pytest.mark.parametrize(
    "heights",
    [
        [0, 2.5, 5, 180, 182.5, 185],  # apart
        [0, 2.5, 5, 1.25, 3.75, 6.25],  # side by side, closer than they are thick
    ],
)
def test_stations_are_volumes_of_their_own(
    tmp_path: Path, heights: list[float]
) -> None:
    numbers = [1, 1, 1, 2, 2, 2]
    stored = voxels((7, 6, 6))
    write_series(tmp_path, stored, heights=heights, AcquisitionNumber=numbers)
    volumes = find_series(tmp_path).volumes
    assert [s.part for s in volumes] == ["acquisition01", "acquisition02"]
    read = [read_series(series).volume.voxels[0] for series in volumes]
    np.testing.assert_array_equal(np.concatenate(read, axis=2), stored)


@pytest.mark.parametrize(
    ("heights", "thickness"),
    [
        ([0, 5, 10, 2.5, 7.5, 12.5], 2.5),  # two packages of one MR volume
        ([0, 2.5, 5, 7.5, 10, 12.5], 2.5),  # one after the other
    ],
)
def test_acquisitions_that_fill_one_volume_are_not_split(
    tmp_path: Path, heights: list[float], thickness: float
) -> None:
    numbers = [1, 1, 1, 2, 2, 2]
    write_series(
        tmp_path,
        voxels((7, 6, 6)),
        heights=heights,
        AcquisitionNumber=numbers,
        SliceThickness=thickness,
    )
    scan, said = scan_of(tmp_path)
    assert scan.volume.grid.shape == (7, 6, 6)
    assert said == []


def captures(folder: Path, **elements: Any) -> list[Series]:
    write_series(folder, voxels(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7", **elements)
    return list(find_series(folder).series)


def test_secondary_captures_that_form_a_stack_are_a_scan(tmp_path: Path) -> None:
    (series,) = captures(tmp_path)
    scan = read_series(series)
    np.testing.assert_array_equal(scan.volume.voxels[0], voxels())
    assert [str(c) for c in scan.corrections] == [
        "class: stored as secondary captures, whose positions make a stack"
    ]


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"PixelSpacing": None},
        {"heights": [0, 0, 0, 0, 0]},
        {"PhotometricInterpretation": "RGB"},
        {"ImageType": "DERIVED\\SECONDARY\\SCREEN SAVE"},
    ],
)
def test_other_secondary_captures_stay_aside(
    tmp_path: Path, elements: dict[str, Any]
) -> None:
    found = captures(tmp_path, **elements)
    assert all(series.reason for series in found)
