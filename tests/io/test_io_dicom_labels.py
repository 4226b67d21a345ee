"""Labels to DICOM objects and back: the same voxels, in every plane."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from dicom_phantom import ORIENTATIONS, voxels, write_series

from medseg.errors import InputError, LabelError, OutputError, SettingsError
from medseg.io import read_label_map
from medseg.io.dicom import Series, find_series, read_series
from medseg.io.dicom.label_objects.contours import contours_of, region_of
from medseg.io.dicom.label_objects.segment_codes import (
    Segment,
    load_codes,
    segment_for,
    segments_of,
    without_code,
)
from medseg.io.dicom.label_objects.segmentation import read_segmentation
from medseg.io.dicom.label_objects.segmentation_writing import (
    SegmentationType,
    write_segmentation,
)
from medseg.io.dicom.label_objects.structure_masks import structure_labels
from medseg.io.dicom.label_objects.structures import read_structures
from medseg.io.dicom.label_objects.structures_writing import write_structures
from medseg.io.dicom.stack import stack_of
from medseg.structure_colors import color_of
from medseg.volume import LabelMap, Volume

NAMES = ("left lung", "tumour", "unheard of")
SOURCES = [*ORIENTATIONS, "tilted"]


def source(folder: Path, plane: str) -> Series:
    tilt = 0.3 if plane == "tilted" else 0.0
    orientation = ORIENTATIONS.get(plane, ORIENTATIONS["axial"])
    write_series(folder, voxels((12, 14, 6)), orientation=orientation, tilt=tilt)
    return find_series(folder).volumes[0]


def labels_on(series: Series) -> LabelMap:
    """Random speckle, a hole, and an empty first and last slice."""
    grid = read_series(series, allow_shear=True).volume.grid
    labels = np.random.default_rng(1).choice(4, grid.shape, p=[0.7, 0.1, 0.1, 0.1])
    labels[2:8, 2:8, 2:4] = 1
    labels[4:6, 4:6, 2:4] = 0
    labels[:, :, [0, -1]] = 0
    return LabelMap(labels.astype(np.uint8), grid.affine)


def segments() -> list[Segment]:
    codes = load_codes()
    return [segment_for(name, n, codes) for n, name in enumerate(NAMES, start=1)]


@pytest.mark.parametrize("kind", SegmentationType)
@pytest.mark.parametrize("plane", SOURCES)
def test_segmentation_round_trip(
    tmp_path: Path, plane: str, kind: SegmentationType
) -> None:
    series = source(tmp_path / "ct", plane)
    labels = labels_on(series)
    path = tmp_path / "seg.dcm"
    written = write_segmentation(path, labels, series, segments=segments(), kind=kind)
    back = read_segmentation(path)
    np.testing.assert_array_equal(back.label_map(labels.grid).voxels, labels.voxels)
    assert back.names == dict(enumerate(NAMES, start=1))
    assert back.references.series == {series.attributes["SeriesInstanceUID"]}
    assert written.num_voxels[NAMES[0]] == (labels.voxels == 1).sum()


@pytest.mark.parametrize("plane", list(ORIENTATIONS))
def test_highdicom_reads_the_same_voxels(tmp_path: Path, plane: str) -> None:
    series = source(tmp_path / "ct", plane)
    labels = labels_on(series)
    write_segmentation(tmp_path / "seg.dcm", labels, series, segments=segments())
    volume = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    lps = np.diag([-1.0, -1, 1, 1])
    for index in np.ndindex(*volume.array.shape):
        world = lps @ volume.affine @ [*index, 1]
        ours = np.rint(np.linalg.inv(labels.affine) @ world)[:3].astype(int)
        assert labels.voxels[tuple(ours)] == volume.array[index]


def test_own_grid_holds_the_planes_that_are_stored(tmp_path: Path) -> None:
    series = source(tmp_path / "ct", "oblique")
    labels = labels_on(series)
    write_segmentation(tmp_path / "seg.dcm", labels, series, segments=segments())
    back = read_label_map(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.voxels, labels.voxels[:, :, 1:-1])


def test_probabilities_survive_in_steps_of_a_255th(tmp_path: Path) -> None:
    series = source(tmp_path / "ct", "axial")
    grid = read_series(series).volume.grid
    shares = np.random.default_rng(0).random((3, *grid.shape)).astype(np.float32)
    path = tmp_path / "seg.dcm"
    write_segmentation(
        path,
        Volume(shares, grid.affine),
        series,
        segments=segments(),
        kind=SegmentationType.FRACTIONAL,
    )
    found = read_segmentation(path).mask_of(2)
    np.testing.assert_allclose(found, shares[1].transpose(2, 1, 0), atol=0.5 / 255)


@pytest.mark.parametrize("plane", SOURCES)
def test_structure_set_round_trip(tmp_path: Path, plane: str) -> None:
    series = source(tmp_path / "ct", plane)
    labels = labels_on(series)
    path = tmp_path / "rt.dcm"
    write_structures(path, labels, series, segments=segments())
    back = structure_labels(read_structures(path), series, labels.grid)
    np.testing.assert_array_equal(back.voxels, labels.voxels)


def test_contours_enclose_exactly_what_they_were_drawn_around() -> None:
    for seed in range(30):
        mask = np.random.default_rng(seed).random((11, 13)) < 0.5
        region = region_of(contours_of(mask))
        np.testing.assert_array_equal(region.pixels(mask.shape), mask)


def test_overlapping_segments_are_refused_and_read_one_by_one(tmp_path: Path) -> None:
    series = source(tmp_path / "ct", "axial")
    grid = read_series(series).volume.grid
    both = np.zeros((2, *grid.shape), np.float32)
    both[:, 2:5, 2:5, 2] = 1
    path = tmp_path / "seg.dcm"
    write_segmentation(
        path,
        Volume(both, grid.affine),
        series,
        segments=segments()[:2],
        kind=SegmentationType.FRACTIONAL,
    )
    with pytest.raises(LabelError, match="'tumour' overlaps"):
        read_segmentation(path).label_map()
    assert read_segmentation(path).mask_of(2).sum() == 9


def test_a_difference_on_reading_back_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.io.dicom.label_objects.segmentation import Segmentation

    series = source(tmp_path / "ct", "axial")
    monkeypatch.setattr(
        Segmentation, "mask_of", lambda self, _: np.zeros((4, 14, 12), np.float32)
    )
    with pytest.raises(OutputError, match="read back differs"):
        write_segmentation(
            tmp_path / "seg.dcm", labels_on(series), series, segments=segments()
        )
    assert not (tmp_path / "seg.dcm").exists()


def test_missing_elements_and_labels_are_named(tmp_path: Path) -> None:
    series = source(tmp_path / "ct", "axial")
    with pytest.raises(LabelError, match=r"labels \[3\] have no description"):
        write_segmentation(
            tmp_path / "s.dcm", labels_on(series), series, segments=segments()[:2]
        )
    write_series(tmp_path / "bare", voxels((12, 14, 6)), FrameOfReferenceUID=None)
    bare = find_series(tmp_path / "bare").volumes[0]
    with pytest.raises(InputError, match="FrameOfReferenceUID is missing"):
        write_segmentation(
            tmp_path / "s.dcm", labels_on(series), bare, segments=segments()
        )


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools not installed")
@pytest.mark.parametrize("what", ["seg", "rt"])
def test_objects_conform(tmp_path: Path, what: str) -> None:
    series = source(tmp_path / "ct", "oblique")
    path = tmp_path / "object.dcm"
    write = write_segmentation if what == "seg" else write_structures
    write(path, labels_on(series), series, segments=segments())
    done = subprocess.run(
        ["dciodvfy", path], capture_output=True, text=True, check=False
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == []


def dcmtk_voxels(path: Path, raw: Path) -> dict[int, np.ndarray]:
    """World positions (LPS) of each segment's pixels, as dcmtk alone sees them."""
    raw.mkdir()
    command = ["dcmdump", "+W", str(raw), "+P", "PixelData", str(path)]
    subprocess.run(command, capture_output=True, check=True)
    (dumped,) = raw.iterdir()
    done = subprocess.run(["dcm2json", str(path)], capture_output=True, check=True)
    header = json.loads(done.stdout)
    rows, columns = (header[tag]["Value"][0] for tag in ("00280010", "00280011"))
    groups = header["52009230"]["Value"]
    bits = np.unpackbits(np.fromfile(dumped, np.uint8), bitorder="little")
    planes = bits[: len(groups) * rows * columns].reshape(-1, rows, columns)
    shared = header["52009229"]["Value"][0]
    orientation = item(shared, "00209116")["00200037"]["Value"]
    spacing = item(shared, "00289110")["00280030"]["Value"]
    along_row, along_column = np.reshape(orientation, (2, 3))
    found: dict[int, list[np.ndarray]] = {}
    for group, plane in zip(groups, planes, strict=True):
        number = item(group, "0062000A")["0062000B"]["Value"][0]
        position = np.array(item(group, "00209113")["00200032"]["Value"])
        row, column = np.nonzero(plane)
        found.setdefault(number, []).append(
            position
            + column[:, None] * along_row * spacing[1]
            + row[:, None] * along_column * spacing[0]
        )
    return {number: np.concatenate(places) for number, places in found.items()}


def item(group: dict[str, Any], sequence: str) -> dict[str, Any]:
    return dict(group[sequence]["Value"][0])


@pytest.mark.skipif(
    not (shutil.which("dcm2json") and shutil.which("dcmdump")),
    reason="dcmtk is not installed (Debian: apt install dcmtk)",
)
@pytest.mark.parametrize("plane", SOURCES)
def test_dcmtk_reads_the_same_voxels(tmp_path: Path, plane: str) -> None:
    series = source(tmp_path / "ct", plane)
    labels = labels_on(series)
    path = tmp_path / "seg.dcm"
    write_segmentation(path, labels, series, segments=segments())
    to_index = np.linalg.inv(labels.affine) @ np.diag([-1.0, -1, 1, 1])
    found = np.zeros_like(labels.voxels)
    for number, places in dcmtk_voxels(path, tmp_path / "raw").items():
        index = places @ to_index[:3, :3].T + to_index[:3, 3]
        assert np.abs(index - np.rint(index)).max() < 1e-3
        found[tuple(np.rint(index).astype(int).T)] = number
    np.testing.assert_array_equal(found, labels.voxels)


def test_highdicom_finds_the_same_pixels_on_tilted_slices(tmp_path: Path) -> None:
    series = source(tmp_path / "ct", "tilted")
    labels = labels_on(series)
    write_segmentation(tmp_path / "seg.dcm", labels, series, segments=segments())
    frames = stack_of(series.frames).frames
    planes = hd.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
        [frame.sop_uid for frame in frames],
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(planes.transpose(2, 1, 0), labels.voxels)


def test_codes_follow_names_sides_synonyms_and_the_users_table(tmp_path: Path) -> None:
    kidney = segment_for("Kidney_Left", 1, load_codes())
    assert (kidney.type.value, kidney.side and kidney.side.meaning) == (
        "64033007",
        "Left",
    )
    assert segment_for("oedema", 1, load_codes()).type.meaning == "Edema"
    assert segment_for("unheard of", 1, load_codes()).type.meaning == "Tissue"
    own = tmp_path / "codes.yaml"
    code = "{category: ['91723000', A], type: ['1', Gland, '99ME']}"
    own.write_text(f"structures: {{gland: {code}}}")
    assert segment_for("gland", 1, load_codes(own)).type.scheme == "99ME"
    own.write_text("structures:\n  gland: {typ: ['1', Gland]}\n")
    with pytest.raises(SettingsError, match=r"codes\.yaml: structures\.gland"):
        load_codes(own)


def test_an_organ_before_a_finding_is_where_that_lies() -> None:
    codes = load_codes()
    tumour = segment_for("right_lung_tumor", 1, codes)
    assert (tumour.type.meaning, tumour.side and tumour.side.meaning) == (
        "Neoplasm",
        "Right",
    )
    assert tumour.region is not None
    assert tumour.region.meaning == "Lung"
    assert segment_for("hepatic metastases", 1, codes).region is not None
    assert segment_for("enhancing tumour", 1, codes).region is None
    assert segment_for("left atrium", 1, codes).side is None  # a code of its own
    assert segment_for("vertebrae_L1", 1, codes).type.meaning == "Vertebra"
    assert segment_for("rib_left_7", 1, codes).type.meaning == "Rib"
    for odd in ("liver kidney", "tumour liver", "left", "7", ""):
        assert segment_for(odd, 1, codes).type.meaning == "Tissue", odd


def test_structures_without_a_code_are_named() -> None:
    names = ["liver", "blob", "Tissue", "left thing"]
    assert without_code(names, load_codes()) == ["blob", "left thing"]


def test_colours_are_those_of_the_pages_unless_the_users_table_says_another(
    tmp_path: Path,
) -> None:
    own = tmp_path / "codes.yaml"
    code = "{category: ['1', A, X], type: ['1', Gland, X], color: [1, 2, 3]}"
    own.write_text(f"structures: {{gland: {code}}}")
    colours = [
        s.color for s in segments_of(["liver", "blob", "gland"], load_codes(own))
    ]
    expected = [tuple(bytes.fromhex(color_of(n)[1:])) for n in (1, 2)]
    assert colours == [*expected, (1, 2, 3)]


def test_built_in_codes_are_those_of_the_standard() -> None:
    from pydicom.sr.codedict import codes

    known = {getattr(codes.SCT, k).value for k in codes.SCT.dir()}
    for name, code in load_codes().structures.items():
        assert code.type[0] in known, name
        assert code.category[0] in known, name
