"""Measurement reports: values worked out by hand, codes, references, conformance."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from dicom_phantom import ORIENTATIONS, voxels, write_series
from pydicom import dcmread

from medseg.errors import InputError, OutputError
from medseg.io.dicom import Series, find_series, read_series
from medseg.io.dicom.label_objects import report_writing
from medseg.io.dicom.label_objects.object_headers import Algorithm
from medseg.io.dicom.label_objects.report_writing import write_report
from medseg.io.dicom.label_objects.segment_codes import load_codes, segments_of
from medseg.io.dicom.label_objects.segmentation_writing import write_segmentation
from medseg.io.dicom.label_objects.structure_measurements import (
    Extent,
    StructureMeasurements,
    measure_structures,
)
from medseg.volume import LabelMap

NAMES = ("left kidney", "liver tumour", "spleen")
LESIONS = ("liver tumour, lesion 1", "liver tumour, lesion 2")
MODEL = Algorithm("abdomen", "0123abc")


def series_of(folder: Path, plane: str = "oblique", **options: Any) -> Series:
    """Pixels of 0.5 mm along i and 0.8 mm along j, slices 2.5 mm apart."""
    shape = options.pop("shape", (14, 12, 6))
    write_series(folder, voxels(shape), orientation=ORIENTATIONS[plane], **options)
    return find_series(folder).volumes[0]


def boxes(series: Series) -> LabelMap:
    """A kidney of 6 x 5 x 3 voxels; a tumour of two single ones; no spleen."""
    grid = read_series(series).volume.grid
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:10, 3:8, 1:4] = 1
    labels[0, 0, 0] = labels[12, 10, 5] = 2
    return LabelMap(labels, grid.affine)


def report_on(
    folder: Path, series: Series, label_map: LabelMap, **options: Any
) -> tuple[Path, Path]:
    """Segmentation and report of a label map."""
    segments = segments_of(options.pop("names", NAMES), load_codes())
    segmentation, report = folder / "seg.dcm", folder / "sr.dcm"
    write_segmentation(
        segmentation, label_map, series, segments=segments, algorithm=MODEL
    )
    write_report(
        report,
        measure_structures(label_map, series, segments),
        series,
        segmentation=segmentation,
        algorithm=MODEL,
        **options,
    )
    return segmentation, report


@pytest.mark.parametrize("plane", ORIENTATIONS)
def test_measured_is_what_is_worked_out_by_hand(tmp_path: Path, plane: str) -> None:
    series = series_of(tmp_path / "ct", plane)
    segments = segments_of(NAMES, load_codes())
    kidney, tumour, spleen = measure_structures(boxes(series), series, segments)
    assert kidney.count == 1
    extent = kidney.extent
    assert extent.volume_ml == pytest.approx(90 * 0.5 * 0.8 * 2.5 / 1000)
    # outlines miss the corners by half a pixel: ±1.25, ±2 and ±1.5, ±1.6 mm
    assert extent.long_axis_mm == pytest.approx(2 * np.hypot(1.25, 2))
    assert extent.short_axis_mm == pytest.approx(3 * np.hypot(1.25, 2) / 2)
    assert extent.diameter_mm == pytest.approx(2 * np.sqrt(1.25**2 + 1.6**2 + 3.75**2))
    assert (tumour.count, tumour.extent.long_axis_mm) == (2, pytest.approx(0.8))
    assert tumour.extent.short_axis_mm == pytest.approx(0.5)
    assert tumour.extent.diameter_mm == pytest.approx(2.5)
    assert spleen == StructureMeasurements(segments[2], 0, Extent(volume_ml=0.0))


def groups_of(report: Path) -> dict[str, Any]:
    """Measurement groups by their tracking identifier, as highdicom reads them."""
    content = hd.sr.srread(report).content
    groups = [
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    return {group.tracking_identifier: group for group in groups}


def test_highdicom_reads_values_codes_and_references(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct")
    segmentation, report = report_on(tmp_path, series, boxes(series))
    groups = groups_of(report)
    assert set(groups) == {*NAMES, *LESIONS}
    kidney = groups["left kidney"]
    values = {
        m.name.meaning: (m.value, m.unit.value) for m in kidney.get_measurements()
    }
    assert values["Volume"] == (0.09, "cm3")
    assert values["Number of separate parts"] == (1, "1")
    assert values["Long axis"] == (pytest.approx(4.71699, abs=1e-4), "mm")
    assert values["Short axis"] == (pytest.approx(3.53774, abs=1e-4), "mm")
    longest = values["Maximum 3D Diameter of a Mesh"]
    assert longest == (pytest.approx(8.52878, abs=1e-4), "mm")
    (site,) = kidney.finding_sites
    assert (site.value.meaning, site.laterality.meaning) == ("Kidney", "Left")
    written = dcmread(segmentation)
    found = hd.sr.srread(report).content.get_volumetric_roi_measurement_groups(
        referenced_sop_instance_uid=written.SOPInstanceUID
    )
    assert [group.tracking_identifier for group in found] == [*NAMES[:2], *LESIONS]
    numbers = [
        item.ReferencedSOPSequence[0].ReferencedSegmentNumber
        for group in found
        for item in group[0].ContentSequence
        if "ReferencedSOPSequence" in item
    ]
    assert numbers == [1, 2, 2, 2]
    tumour = groups["liver tumour"]
    assert tumour.finding_type.meaning == "Neoplasm"
    assert tumour.finding_sites[0].value.meaning == "Liver"
    counts = [m for m in tumour.get_measurements() if "lesions" in m.name.meaning]
    assert [m.value for m in counts] == [2]
    spleen = groups["spleen"]
    assert [m.value for m in spleen.get_measurements()] == [0, 0]


def test_segments_and_groups_are_tracked_by_the_same_uid_each_time(
    tmp_path: Path,
) -> None:
    series = series_of(tmp_path / "ct")
    uids = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        segmentation, report = report_on(tmp_path / name, series, boxes(series))
        segments = dcmread(segmentation).SegmentSequence
        uids.append([item.TrackingUID for item in segments])
        groups = groups_of(report)
        assert [groups[n].tracking_uid for n in NAMES] == uids[-1]
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 3
    other = series_of(tmp_path / "other")
    (tmp_path / "c").mkdir()
    segmentation, _ = report_on(tmp_path / "c", other, boxes(other))
    assert dcmread(segmentation).SegmentSequence[0].TrackingUID not in uids[0]


def test_doubts_are_told_in_every_group(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct")
    _, report = report_on(tmp_path, series, boxes(series), doubts=["530 ml, at most 5"])
    for group in groups_of(report).values():
        said = {e.name.meaning: e.value for e in group.get_qualitative_evaluations()}
        assert said["Quality Assessment"].value == "suspect"
    assert report.read_bytes().count(b"530 ml, at most 5") == len(groups_of(report))
    _, plain = report_on(tmp_path, series, boxes(series))
    assert b"Quality Assessment" not in plain.read_bytes()


def test_descriptions_name_the_model_and_its_use(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct")
    paths = report_on(tmp_path, series, boxes(series))
    said = [dcmread(path).SeriesDescription for path in paths]
    assert said == [
        "abdomen segmentation (research use only)",
        "abdomen measurements (research use only)",
    ]
    numbers = [int(dcmread(path).SeriesNumber) for path in paths]
    assert numbers == [1003, 1004]


def test_long_and_foreign_names_fit_and_survive(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct", SpecificCharacterSet="ISO_IR 100")
    names = ("rechte Milz ü", "肝臓", "x" * 80)
    algorithm = Algorithm("模型 " + "long " * 20, "1")
    segments = segments_of(names, load_codes())
    label_map = boxes(series)
    write_segmentation(
        tmp_path / "seg.dcm", label_map, series, segments=segments, algorithm=algorithm
    )
    write_report(
        tmp_path / "sr.dcm",
        measure_structures(label_map, series, segments),
        series,
        segmentation=tmp_path / "seg.dcm",
        algorithm=algorithm,
    )
    for name in ("seg.dcm", "sr.dcm"):
        found = dcmread(tmp_path / name)
        assert found.SeriesDescription.startswith("模型 long")
        assert found.SeriesDescription.endswith("(research use only)")
        assert len(found.SeriesDescription) <= 64
        assert "肝臓" in str(found)
        assert found.PatientName == "Planted^Person"


def test_a_single_slice_has_an_area_and_no_volume(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct", shape=(14, 12, 1))
    labels = np.zeros((14, 12, 1), np.uint8)
    labels[2:6, 2:4] = 1
    label_map = LabelMap(labels, read_series(series).volume.affine)
    segments = segments_of(NAMES, load_codes())
    kidney = measure_structures(label_map, series, segments)[0]
    assert kidney.extent.area_mm2 == pytest.approx(8 * 0.4)
    assert kidney.extent.volume_ml is None
    assert kidney.extent.diameter_mm is None
    _, report = report_on(tmp_path, series, label_map)
    found = {m.name.meaning for m in groups_of(report)[NAMES[0]].get_measurements()}
    assert found == {"Area", "Number of separate parts", "Long axis", "Short axis"}


def test_objects_are_counted_by_their_numbers(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct")
    label_map = boxes(series)
    label_map.voxels[4, 3, 1] = 9  # touches the box
    segments = segments_of(["nucleus"], load_codes())
    (cells,) = measure_structures(label_map, series, segments, are_objects=True)
    assert cells.count == 3
    assert [(cell.number, cell.num_voxels) for cell in cells.lesions] == [
        (1, 89),
        (2, 2),
        (9, 1),
    ]


def test_lesions_are_measured_one_by_one_each_with_its_place(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct")
    label_map = boxes(series)
    label_map.voxels[11, 10, 5] = 2  # the second tumour is the larger one now
    _, report = report_on(tmp_path, series, label_map)
    groups = groups_of(report)
    large, small = (groups[name] for name in LESIONS)
    values = {m.name.meaning: m.value for m in small.get_measurements()}
    assert values == {
        "Volume": pytest.approx(0.001),
        "Long axis": pytest.approx(0.8),
        "Short axis": pytest.approx(0.5),
        "Maximum 3D Diameter of a Mesh": pytest.approx(2.5),
    }
    assert {m.name.meaning: m.value for m in large.get_measurements()}["Volume"] == (
        pytest.approx(0.002)
    )
    whole = {m.name.meaning: m.value for m in groups[NAMES[1]].get_measurements()}
    assert (whole["Number of lesions"], whole["Volume"]) == (2, pytest.approx(0.003))
    assert large.finding_type.meaning == "Neoplasm"
    assert large.finding_sites[0].value.meaning == "Liver"
    uids = [groups[name].tracking_uid for name in (*NAMES, *LESIONS)]
    assert len(set(uids)) == 5
    row, column = (np.array(ORIENTATIONS["oblique"][n : n + 3]) for n in (0, 3))
    corner = np.array([-10.0, -20.0, 30.0]) + 5 * 2.5 * np.cross(row, column)
    x, y, z = corner + 11.5 * 0.5 * row + 10 * 0.8 * column
    (said,) = [
        item.TextValue
        for item in large[0].ContentSequence
        if item.ValueType == "TEXT" and "lesions of the segment" in item.TextValue
    ]
    assert said.startswith(
        f"one of 2 lesions of the segment; centre at {x:.1f}, {y:.1f}, {z:.1f} mm"
    )


def test_the_largest_of_many_lesions_are_measured_and_the_rest_is_said(
    tmp_path: Path,
) -> None:
    series = series_of(tmp_path / "ct", shape=(30, 28, 6))
    grid = read_series(series).volume.grid
    labels = np.zeros(grid.shape, np.uint8)
    labels[::4, ::4, 1] = 1  # 8 x 7
    labels[28, 24, 2] = 1  # the last is the largest
    labels[:, :, 5] = 2  # an organ in one part
    segments = segments_of(("metastasis", "spleen"), load_codes())
    assert [segment.is_finding for segment in segments] == [True, False]
    label_map = LabelMap(labels, grid.affine)
    many, spleen = measure_structures(label_map, series, segments)
    assert (many.count, len(many.lesions)) == (56, 50)
    assert [lesion.num_voxels for lesion in many.lesions[:2]] == [2, 1]
    assert spleen.lesions == ()
    write_report(
        tmp_path / "sr.dcm", [many, spleen], series, segmentation=None, algorithm=MODEL
    )
    assert len(groups_of(tmp_path / "sr.dcm")) == 52
    said = b"the 50 largest of 56 lesions are measured one by one"
    assert (tmp_path / "sr.dcm").read_bytes().count(said) == 1


def test_an_organ_in_parts_is_one_thing(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct")
    segments = segments_of(["spleen"], load_codes())
    label_map = boxes(series)
    label_map.voxels[label_map.voxels > 0] = 1
    (spleen,) = measure_structures(label_map, series, segments)
    assert (spleen.count, spleen.lesions) == (3, ())


def test_a_report_without_a_segmentation_says_that_nothing_was_found(
    tmp_path: Path,
) -> None:
    series = series_of(tmp_path / "ct")
    empty = boxes(series)
    empty.voxels[:] = 0
    segments = segments_of(NAMES, load_codes())
    measured = measure_structures(empty, series, segments)
    path = tmp_path / "sr.dcm"
    write_report(path, measured, series, segmentation=None, algorithm=MODEL)
    groups = groups_of(path)
    assert set(groups) == set(NAMES)
    values = [m.value for g in groups.values() for m in g.get_measurements()]
    assert values == [0] * 6


def test_what_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = series_of(tmp_path / "bare", StudyInstanceUID=None)
    path = tmp_path / "sr.dcm"
    with pytest.raises(InputError, match="StudyInstanceUID is missing"):
        write_report(path, [], bare, segmentation=None, algorithm=MODEL)
    series = series_of(tmp_path / "ct")
    monkeypatch.setattr(report_writing, "_numbers_in", lambda _: iter([1.0]))
    with pytest.raises(OutputError, match="read back differ"):
        report_on(tmp_path, series, boxes(series))
    assert not path.exists()


@pytest.mark.skipif(
    not (shutil.which("dciodvfy") and shutil.which("dsrdump")),
    reason="dicom3tools or dcmtk is not installed (Debian: apt install them)",
)
@pytest.mark.parametrize("doubts", [(), ("larger than any seen in training",)])
def test_reports_conform(tmp_path: Path, doubts: tuple[str, ...]) -> None:
    series = series_of(tmp_path / "ct", PatientIdentityRemoved="YES")
    for path in report_on(tmp_path, series, boxes(series), doubts=doubts):
        done = subprocess.run(
            ["dciodvfy", path], capture_output=True, text=True, check=False
        )
        assert [line for line in done.stderr.splitlines() if "Error" in line] == []
    done = subprocess.run(
        ["dsrdump", "+Pl", path], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert 'NUM:(,,"Volume")="0.09" (cm3,UCUM' in done.stdout
    assert done.stdout.count("Referenced Segment") == 4
    assert done.stdout.count("one of 2 lesions of the segment; centre at") == 2
    assert all(doubt in done.stdout for doubt in doubts)
