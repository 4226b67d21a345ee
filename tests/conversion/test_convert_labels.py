"""A tree of DICOM images, SEG and RTSTRUCT becomes a training set, and back."""

import csv
import subprocess
import sys
from pathlib import Path

import dicom_phantom
import numpy as np
import pytest
from pydicom import dcmread

from medseg.conversion.convert import convert
from medseg.conversion.dicom_export import DicomExportOptions, file_tree, read_options
from medseg.conversion.file_labels import DicomObject, file_label_map
from medseg.conversion.table import ConversionSummary
from medseg.datasets.load import load_dataset
from medseg.errors import InputError, LabelError, SettingsError
from medseg.geometry import Grid
from medseg.io import read_label_map, read_volume, write_label_map
from medseg.io.dicom import Series, find_series, read_series
from medseg.io.dicom.label_objects.segment_codes import load_codes, segment_for
from medseg.io.dicom.label_objects.segmentation import read_segmentation
from medseg.io.dicom.label_objects.segmentation_writing import (
    SegmentationType,
    write_segmentation,
)
from medseg.io.dicom.label_objects.structure_choice import (
    StructureChoice,
    parse_structures,
)
from medseg.io.dicom.label_objects.structure_masks import structure_labels
from medseg.io.dicom.label_objects.structures import read_structures
from medseg.labels import LabelScheme
from medseg.preparation import prepare
from medseg.volume import LabelMap, Volume

SHAPE = (24, 28, 12)


def image_series(folder: Path, number: int, **elements: object) -> Series:
    """A series of one patient, in a study of its own."""
    dicom_phantom.write_series(
        folder / "image",
        dicom_phantom.voxels(SHAPE, seed=number),
        study_uid=f"1.2.3.{number}",
        frame_uid=f"1.2.3.{number}.9",
        PatientID=f"PID-{number // 2}",
        **elements,
    )
    return find_series(folder / "image").volumes[0]


def boxes(series: Series, **places: tuple[int, int]) -> tuple[LabelMap, LabelScheme]:
    """A box for each name, from one i to another."""
    grid = read_series(series, allow_shear=True).volume.grid
    labels = np.zeros(grid.shape, np.uint8)
    for value, (first, last) in enumerate(places.values(), start=1):
        labels[first:last, 5:15, 2:8] = value
    names = {name: n for n, name in enumerate(places, start=1)}
    return LabelMap(labels, grid.affine), LabelScheme(names=names)


def tcia_like(root: Path, count: int = 5) -> Path:
    """Patients whose structures are numbered and spelled differently."""
    for number in range(count):
        folder = root / f"patient{number}"
        series = image_series(folder, number)
        names = {"GTV-1": (3, 8), "Lung Left": (10, 20)}
        if number % 2:
            names = {"lung left": (10, 20), "GTV-1": (3, 8)}
        label_map, scheme = boxes(series, **names)
        kind = DicomObject.RTSTRUCT if number % 2 else DicomObject.SEG
        file_label_map(
            label_map, series, folder / "labels.dcm", scheme=scheme, as_object=kind
        )
    return root


def run(scans: Path, out: Path, **options: object) -> ConversionSummary:
    return convert(scans, out, key_path=out.parent / "key", **options)  # type: ignore[arg-type]


def test_a_tree_of_images_and_labels_becomes_a_data_set(tmp_path: Path) -> None:
    summary = run(tcia_like(tmp_path / "in"), tmp_path / "out")
    assert (summary.exit_code, summary.count("done")) == (0, 10)
    (manifest,) = summary.manifests
    dataset = load_dataset(manifest)
    assert dataset.channels == ("CT",)
    assert dataset.scheme.names == {"GTV-1": 1, "Lung Left": 2}
    assert (len(dataset.cases), len(dataset.patients)) == (5, 3)
    for case in dataset.cases:
        assert case.label is not None
        labels = read_label_map(case.label)
        labels.grid.require_match(read_volume(case.images[0]).grid, what="labels")
        assert (labels.voxels[3:8, 5:15, 2:8] == 1).all()
        assert (labels.voxels[10:20, 5:15, 2:8] == 2).all()
        assert np.count_nonzero(labels.voxels) == 15 * 10 * 6
    assert "PID-" not in manifest.read_text()


def test_what_no_label_object_of_a_case_lists_is_not_annotated(tmp_path: Path) -> None:
    both, less = {"tumour": (3, 8), "organ": (10, 20)}, {"tumour": (3, 8)}
    for number, names in enumerate((both, both, less, less)):
        folder = tmp_path / "in" / f"patient{number}"
        series = image_series(folder, number)
        label_map, scheme = boxes(series, **names)
        kind = DicomObject.RTSTRUCT if number % 2 else DicomObject.SEG
        file_label_map(
            label_map, series, folder / "labels.dcm", scheme=scheme, as_object=kind
        )
    (manifest,) = run(tmp_path / "in", tmp_path / "out").manifests
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["not_annotated"] for row in rows) == ["", "", "organ", "organ"]
    marked = [case.unannotated for case in load_dataset(manifest).cases]
    assert sorted(marked) == [(), (), ("organ",), ("organ",)]
    one = run(tmp_path / "in", tmp_path / "one", structures="organ")
    (manifest,) = one.manifests
    assert "not_annotated" not in manifest.read_text()


def test_the_data_set_can_be_prepared(tmp_path: Path) -> None:
    summary = run(tcia_like(tmp_path / "in"), tmp_path / "out")
    store = prepare(load_dataset(summary.manifests[0]), tmp_path / "store", workers=1)
    assert len(store.case_ids) == 5
    assert store.plan.labels.structures == ("GTV-1", "Lung Left")


def test_structures_are_renamed_chosen_and_ranked(tmp_path: Path) -> None:
    series = image_series(tmp_path / "in", 0)
    grid = read_series(series).volume.grid
    shares = np.zeros((3, *grid.shape), np.float32)
    shares[0] = 1  # the whole body
    shares[1, 5:10, 5:15, 2:8] = shares[2, 8:12, 5:15, 2:8] = 1
    write_overlapping(tmp_path / "in" / "s.dcm", shares, series, "BODY", "GTV1", "cord")
    wanted = "cord, tumour=GTV*"
    summary = run(tmp_path / "in", tmp_path / "out", structures=wanted)
    (line,) = (c for c in summary.conversions if c.structures)
    assert line.structures == "1 cord; 2 tumour"
    assert line.corrections == "structures: BODY not asked for"
    labels = read_label_map(tmp_path / "out" / line.output).voxels
    assert (labels[8:12, 5:15, 2:8] == 1).all()
    assert (labels[5:8, 5:15, 2:8] == 2).all()
    assert np.count_nonzero(labels) == 7 * 10 * 6
    again = run(tmp_path / "in", tmp_path / "all")
    (line,) = (c for c in again.conversions if c.status == "failed")
    assert "--structures" in line.reason
    aside = run(tmp_path / "in", tmp_path / "none", structures="liver")
    (line,) = (c for c in aside.conversions if c.status == "set aside")
    assert "none of the structures that were asked for; it holds BODY" in line.reason
    assert not aside.manifests


def write_overlapping(
    path: Path, shares: np.ndarray, series: Series, *names: str
) -> None:
    grid = read_series(series).volume.grid
    segments = [segment_for(n, i, load_codes()) for i, n in enumerate(names, start=1)]
    volume = Volume(shares, grid.affine)
    kind = SegmentationType.FRACTIONAL
    write_segmentation(path, volume, series, segments=segments, kind=kind)


def test_overlapping_contours_count_by_rank(tmp_path: Path) -> None:
    series = image_series(tmp_path / "ct", 0)
    structures = []
    for name, places in {"organ": (4, 20), "tumour": (8, 12)}.items():
        label_map, scheme = boxes(series, **{name: places})
        path = tmp_path / f"{name}.dcm"
        kind = DicomObject.RTSTRUCT
        file_label_map(label_map, series, path, scheme=scheme, as_object=kind)
        structures += read_structures(path).structures
    both = read_structures(tmp_path / "organ.dcm")
    object.__setattr__(both, "structures", tuple(structures))
    grid = label_map.grid
    choice = parse_structures("tumour, organ")
    found = structure_labels(both, series, grid, choice=choice).voxels
    assert np.bincount(found.ravel()).tolist()[1:] == [4 * 60, 12 * 60]
    with pytest.raises(LabelError, match="'tumour' overlaps 'organ'"):
        structure_labels(both, series, grid)


def test_label_maps_of_one_image_are_merged_or_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = image_series(tmp_path / "in", 0)
    for name, places in {"liver": (3, 8), "tumour": (10, 14)}.items():
        label_map, scheme = boxes(series, **{name: places})
        path = tmp_path / "in" / f"{name}.dcm"
        file_label_map(label_map, series, path, scheme=scheme)
    (manifest,) = run(tmp_path / "in", tmp_path / "out").manifests
    (case,) = load_dataset(manifest).cases
    assert case.label is not None
    assert np.bincount(read_label_map(case.label).voxels.ravel()).tolist()[1:] == [
        300,
        240,
    ]
    label_map, scheme = boxes(series, liver=(5, 9))
    file_label_map(label_map, series, tmp_path / "in" / "x.dcm", scheme=scheme)
    assert run(tmp_path / "in", tmp_path / "twice").manifests == ()
    merged = run(tmp_path / "in", tmp_path / "ranked", structures="liver,tumour")
    (case,) = load_dataset(merged.manifests[0]).cases
    assert case.label is not None
    assert np.bincount(read_label_map(case.label).voxels.ravel()).tolist()[1] == 360


def test_modalities_get_manifests_of_their_own(tmp_path: Path) -> None:
    for number, modality in enumerate(["CT", "MR"]):
        folder = tmp_path / "in" / modality
        series = image_series(folder, number, Modality=modality)
        label_map, scheme = boxes(series, tumour=(3, 8))
        file_label_map(label_map, series, folder / "seg.dcm", scheme=scheme)
    manifests = run(tmp_path / "in", tmp_path / "out").manifests
    assert [m.name for m in manifests] == ["manifest_ct.csv", "manifest_mr.csv"]
    assert [load_dataset(m).channels for m in manifests] == [("CT",), ("MR",)]


def test_labels_find_their_volume_of_a_series_with_several(tmp_path: Path) -> None:
    for number in range(2):
        dicom_phantom.write_series(
            tmp_path / "in" / str(number),
            dicom_phantom.voxels(SHAPE, seed=number),
            series_uid="1.7.7",
            EchoTime=10.0 + number,
        )
    second = find_series(tmp_path / "in").volumes[1]
    label_map, scheme = boxes(second, tumour=(3, 8))
    for kind in DicomObject:
        path = tmp_path / "in" / f"{kind.value}.dcm"
        file_label_map(label_map, second, path, scheme=scheme, as_object=kind)
    summary = run(tmp_path / "in", tmp_path / "out")
    filed = [c for c in summary.conversions if c.structures]
    assert len(filed) == 2
    assert all("_echo02__" in line.output for line in filed)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "expected names"), ("a=", "expected a name"), ("a,a", "each once")],
)
def test_structures_that_cannot_be_understood_are_refused(
    text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_structures(text)


def test_names_that_differ_in_case_are_one_structure() -> None:
    choice = StructureChoice.of_names(["lung  LEFT", "Lung Left", "a*b", "cord"])
    assert list(choice.values.values()) == [1, 2, 3]
    assert choice.value_of("LUNG LEFT") == 3
    assert (choice.value_of("a*b"), choice.value_of("axb")) == (1, 0)


def test_structures_named_after_patients_are_one(tmp_path: Path) -> None:
    choice = StructureChoice.of_names(
        ["GTV Doe", "gtv smith", "cord"],
        mask=lambda name: name.replace("Doe", "***").replace("smith", "***"),
    )
    assert choice.names == ("cord", "GTV ***")
    assert {choice.value_of(name) for name in ("GTV DOE", "gtv Smith")} == {2}
    series = image_series(tmp_path / "in", 0, PatientName="Doe^Jane")
    label_map, scheme = boxes(series, **{"GTV Doe 19480229": (3, 8)})
    file_label_map(label_map, series, tmp_path / "in" / "s.dcm", scheme=scheme)
    (manifest,) = run(tmp_path / "in", tmp_path / "out").manifests
    assert load_dataset(manifest).scheme.names == {"GTV *** ***": 1}


# --- label maps to DICOM


def label_file(path: Path, series: Series) -> LabelMap:
    label_map, _ = boxes(series, liver=(3, 8), tumour=(8, 11))
    write_label_map(path, label_map)
    return label_map


@pytest.mark.parametrize("to", ["seg", "rtstruct"])
def test_label_maps_are_filed_with_their_series_by_name(
    tmp_path: Path, to: str
) -> None:
    key = tmp_path / "key"
    first = image_series(tmp_path / "in" / "a", 0)
    image_series(tmp_path / "in" / "b", 2)
    convert(tmp_path / "in" / "a", tmp_path / "nifti", key_path=key)
    (volume,) = (tmp_path / "nifti").glob("*.nii.gz")
    (tmp_path / "labels").mkdir()
    expected = label_file(tmp_path / "labels" / volume.name, first)
    label_file(tmp_path / "labels" / "whose.nii.gz", first)
    options = read_options(to, "binary", names="liver=1,tumour=2")
    result = file_tree(
        tmp_path / "labels",
        tmp_path / "in",
        tmp_path / "out",
        options=options,
        key_path=key,
    )
    by_status = {line.status: line for line in result.conversions}
    assert "its name is none of theirs" in by_status["failed"].reason
    done = by_status["done"]
    assert done.structures == "liver: 300 voxels; tumour: 180 voxels"
    path = tmp_path / "out" / done.output
    if to == "seg":
        back = read_segmentation(path).label_map(expected.grid)
    else:
        back = structure_labels(read_structures(path), first, expected.grid)
    assert np.array_equal(back.voxels, expected.voxels)
    assert dcmread(path).StudyInstanceUID == "1.2.3.0"
    content = path.read_bytes()
    again = file_tree(
        tmp_path / "labels",
        tmp_path / "in",
        tmp_path / "out",
        options=options,
        key_path=key,
    )
    assert "unchanged" in {line.status for line in again.conversions}
    assert path.read_bytes() == content


def test_a_label_map_of_another_place_is_refused(tmp_path: Path) -> None:
    series = image_series(tmp_path / "in", 0)
    label_map, _ = boxes(series, liver=(3, 8))
    affine = label_map.affine.copy()
    affine[:3, 3] += 4.0
    write_label_map(tmp_path / "l.nii.gz", LabelMap(label_map.voxels, affine))
    result = file_tree(tmp_path / "l.nii.gz", tmp_path / "in", tmp_path / "out")
    assert result.conversions[0].status in ("done", "failed")
    affine[:3, 3] += 500.0
    write_label_map(tmp_path / "l.nii.gz", LabelMap(label_map.voxels, affine))
    result = file_tree(tmp_path / "l.nii.gz", tmp_path / "in", tmp_path / "far")
    assert result.exit_code == 1
    assert "no label lies on the slices" in result.conversions[0].reason
    assert not list((tmp_path / "far").glob("*.dcm"))


def test_a_label_map_that_turned_bad_leaves_no_object_of_its_former_self(
    tmp_path: Path,
) -> None:
    series = image_series(tmp_path / "in", 0)
    label_map, _ = boxes(series, liver=(3, 8))
    emptied = LabelMap(np.zeros_like(label_map.voxels), label_map.affine)
    found = []
    for labels in (label_map, emptied):
        write_label_map(tmp_path / "l.nii.gz", labels)
        result = file_tree(tmp_path / "l.nii.gz", tmp_path / "in", tmp_path / "out")
        objects = list((tmp_path / "out").glob("*.dcm"))
        found.append((result.conversions[0].status, len(objects)))
    assert found == [("done", 1), ("failed", 0)]


def test_most_of_a_label_map_must_lie_on_the_slices(tmp_path: Path) -> None:
    series = image_series(tmp_path / "in", 0)
    grid = read_series(series).volume.grid
    tall = Grid((24, 28, 60), grid.affine)
    labels = LabelMap(np.ones(tall.shape, np.uint8), tall.affine)
    write_label_map(tmp_path / "l.nii.gz", labels)
    result = file_tree(tmp_path / "l.nii.gz", tmp_path / "in", tmp_path / "out")
    assert "only 20 % of the labelled volume" in result.conversions[0].reason
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_objects_name_the_model_that_made_the_labels(
    tmp_path: Path, model: Path
) -> None:
    series = image_series(tmp_path / "in", 0)
    label_map, _ = boxes(series, first=(3, 8))
    write_label_map(tmp_path / "l.nii.gz", label_map)
    options = read_options("seg", "labelmap", model=model)
    assert options.scheme is not None
    result = file_tree(
        tmp_path / "l.nii.gz", tmp_path / "in", tmp_path / "out", options=options
    )
    dataset = dcmread(tmp_path / "out" / result.conversions[0].output)
    assert dataset.SegmentationType == "LABELMAP"
    segments = {s.SegmentNumber: s for s in dataset.SegmentSequence}
    found = segments[1].SegmentationAlgorithmIdentificationSequence[0]
    assert options.algorithm is not None
    assert found.AlgorithmVersion == options.algorithm.version != ""


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    series = image_series(tmp_path / "in", 0)
    label_file(tmp_path / "l.nii.gz", series)
    with pytest.raises(SettingsError, match="expected name=value"):
        read_options("seg", "binary", names="liver")
    with pytest.raises(InputError, match="no such file or folder"):
        file_tree(tmp_path / "none", tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="no DICOM series there"):
        file_tree(tmp_path / "l.nii.gz", tmp_path / "l.nii.gz", tmp_path / "out")
    result = file_tree(
        tmp_path / "l.nii.gz",
        tmp_path / "in",
        tmp_path / "out",
        options=DicomExportOptions(scheme=LabelScheme(names={"liver": 1})),
    )
    assert "absent from the scheme" in result.conversions[0].reason


def test_the_command_line_goes_there_and_back(tmp_path: Path) -> None:
    series = image_series(tmp_path / "in", 0)
    expected = label_file(tmp_path / "l.nii.gz", series)
    medseg = [sys.executable, "-m", "medseg", "convert"]
    key = ["--key", str(tmp_path / "key")]
    to = ["--to", "seg", "--source", str(tmp_path / "in"), "--names", "a=1,b=2"]
    filed = [str(tmp_path / "l.nii.gz"), "-o", str(tmp_path / "in" / "seg"), *to, *key]
    subprocess.run([*medseg, *filed], check=True, capture_output=True)
    back = [str(tmp_path / "in"), "-o", str(tmp_path / "out"), *key]
    done = subprocess.run([*medseg, *back], check=True, capture_output=True, text=True)
    assert "manifest.csv" in done.stdout + done.stderr
    with (tmp_path / "out" / "manifest.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    found = read_label_map(tmp_path / "out" / row["label"])
    assert np.array_equal(found.voxels, expected.voxels)
    wrong = subprocess.run([*medseg, *filed[:3], "--to", "seg"], capture_output=True)
    assert wrong.returncode == 2
