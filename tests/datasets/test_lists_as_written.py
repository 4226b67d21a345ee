"""dataset.json, tables and nnU-Net's raw folders as people write them."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from medseg.datasets import load_dataset
from medseg.datasets.doctor import examine
from medseg.datasets.patients import read_table
from medseg.errors import DatasetError, UnreadableFileError
from medseg.preparation import make_fingerprint, make_plan

SOUND = "nothing to complain about"


def scan(path: Path, seed: int, *, is_label: bool = False) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 999, (6, 5, 4)).astype(np.int16)
    if is_label:
        voxels = np.zeros((6, 5, 4), dtype=np.uint8)
        voxels[seed : seed + 2, 1:3, 1:3] = 1
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1, 2, 1])), path)
    return path.as_posix()


def pairs(root: Path, image: str, label: str) -> list[tuple[str, str]]:
    """Four scans with label maps; their paths below the root."""
    names = []
    for n in range(4):
        pair = (image.format(n), label.format(n))
        scan(root / pair[0], n)
        scan(root / pair[1], n, is_label=True)
        names.append(pair)
    return names


FLAT = ("imagesTr/case_{}.nii.gz", "labelsTr/case_{}.nii.gz")


def decathlon(root: Path, entries: list[dict[str, object]], **more: object) -> Path:
    values = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "tumour"}}
    values |= {"training": entries} | more
    (root / "dataset.json").write_text(json.dumps(values))
    return root


def listed(root: Path, change: object = lambda path: path, **more: object) -> Path:
    found = pairs(root, *FLAT)
    entries = [{"image": change(a), "label": change(b)} for a, b in found]
    return decathlon(root, entries, **more)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: f"./{path} ",
        lambda path: path.replace("/", "\\"),
        lambda path: ".\\" + path.replace("/", "\\"),
        lambda path: f"/data/Task99/{path}",
        lambda path: f"C:\\data\\Task99\\{path}".replace("/", "\\"),
        lambda path: path.removesuffix(".nii.gz"),
    ],
    ids=["blanks", "backslashes", "dot", "elsewhere", "windows", "no ending"],
)
def test_paths_of_other_people(tmp_path, change):
    report = examine(listed(tmp_path, change), workers=1)
    assert report.verdict == SOUND
    assert [case.case_id for case in report.dataset.cases] == [
        f"case_{n}" for n in range(4)
    ]


def test_a_path_that_leads_nowhere_is_missing_under_its_name(tmp_path):
    report = examine(listed(tmp_path, lambda path: f"nowhere/x{path}"), workers=1)
    assert {f.kind for f in report.findings if f.severity == "error"} == {"missing"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("case_{}/image.nii.gz", [f"case_{n}" for n in range(4)]),
        ("site{}/p/image.nii.gz", [f"site{n}_p" for n in range(4)]),
    ],
)
def test_one_file_name_in_many_folders(tmp_path, pattern, expected):
    found = pairs(tmp_path, pattern, pattern.replace("image", "label"))
    root = decathlon(tmp_path, [{"image": a, "label": b} for a, b in found])
    assert [case.case_id for case in load_dataset(root).cases] == expected
    table = "\n".join(["image,label", *(f"{a},{b}" for a, b in found)])
    (tmp_path / "list.csv").write_text(table)
    study = load_dataset(tmp_path / "list.csv")
    assert [case.case_id for case in study.cases] == expected


@pytest.mark.parametrize(
    "more",
    [
        {"modality": ["CT"]},
        {"modality": "CT"},
        {"channel_names": {"CT": 0}},
        {"labels": ["background", "tumour"]},
        {"labels": {"background": "0", "tumour": "1"}},
    ],
)
def test_channels_and_labels_in_other_forms(tmp_path, more):
    study = load_dataset(listed(tmp_path, **more))
    assert study.channels == ("CT",)
    assert study.scheme.names == {"tumour": 1}


def test_channels_that_are_not_numbered_are_named(tmp_path):
    root = listed(tmp_path, modality={"first": "CT", "second": "MR"})
    with pytest.raises(
        DatasetError, match='"modality" has first, second, expected num'
    ):
        load_dataset(root)


def test_one_name_of_two_values_is_refused(tmp_path):
    labels = {"0": "background", "1": "tumour", "2": "tumour"}
    with pytest.raises(DatasetError, match="several labels are called tumour"):
        load_dataset(listed(tmp_path, labels=labels))


def test_entries_under_testing_are_held_out_with_their_label_maps(tmp_path):
    found = [{"image": a, "label": b} for a, b in pairs(tmp_path, *FLAT)]
    report = examine(decathlon(tmp_path, found[:3], testing=found[3:]), workers=1)
    assert report.verdict == SOUND
    (held_out,) = report.dataset.test_cases
    assert held_out.label is not None


def test_files_that_a_list_names_absolutely_are_not_left_over(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    listed(real, lambda path: (real / path).resolve().as_posix())
    (tmp_path / "linked").symlink_to(real)
    assert examine(tmp_path / "linked", workers=1).verdict == SOUND


TABLE = [("image", "label"), ("bilder/Größe 1.nii.gz", "bilder/Maske 1.nii.gz")]
TEXT = "\r\n".join(";".join(row) for row in TABLE)
FORMS = {
    "utf-8": TEXT.encode(),
    "excel's utf-8": TEXT.encode("utf-8-sig"),
    "excel's utf-16": TEXT.encode("utf-16"),
    "western": TEXT.encode("cp1252"),
    "commas": TEXT.replace(";", ",").encode(),
    "blanks": "\n".join(f'"{a} " , "{b}"' for a, b in TABLE).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_tables_of_spreadsheets(tmp_path, form):
    (tmp_path / "t.csv").write_bytes(FORMS[form])
    assert read_table(tmp_path / "t.csv") == [dict(zip(*TABLE, strict=True))]


@pytest.mark.parametrize("data", [b"\x00\x01\xff" * 50, b'image,label\n"a,b\n'])
def test_what_is_no_table_is_refused(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(UnreadableFileError, match="not a readable table"):
        read_table(tmp_path / "t.csv")


def roads(
    root: Path,
    *,
    mode: str = "RGB",
    ending: str = ".png",
    value: int = 1,
    **spec: object,
) -> Path:
    """nnU-Net's own example of natural images: one file of all colours a case."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for n in range(3):
        rng = np.random.default_rng(n)
        shape = (16, 20, 3) if mode == "RGB" else (16, 20)
        picture = rng.integers(0, 255, shape).astype(np.uint8)
        label = np.zeros((16, 20), dtype=np.uint8)
        label[n : n + 4, 3:9] = value
        Image.fromarray(picture).save(root / "imagesTr" / f"road_{n}_0000{ending}")
        Image.fromarray(label).save(root / "labelsTr" / f"road_{n}{ending}")
    values = {"labels": {"background": 0, "road": 1}, "file_ending": ending} | spec
    (root / "dataset.json").write_text(json.dumps(values))
    return root


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize(
    ("names", "channels"),
    [
        ({"0": "R", "1": "G", "2": "B"}, ("red", "green", "blue")),
        ({"R": 0, "G": 1, "B": 2}, ("red", "green", "blue")),
        ({"0": "R", "1": "G", "3": "B"}, ("red", "green", "blue")),
        (dict.fromkeys("012", "rgb"), ("rgb_0", "rgb_1", "rgb_2")),
    ],
)
def test_natural_images_of_nnunet(tmp_path, names, channels, ending):
    root = roads(tmp_path / "d", ending=ending, channel_names=names)
    report = examine(root, workers=1)
    assert report.verdict == SOUND
    assert report.dataset.channels == channels
    assert all(len(case.images) == 1 for case in report.dataset.cases)


def test_more_channels_than_names_are_an_error(tmp_path):
    report = examine(roads(tmp_path / "d", channel_names={"0": "XAG"}), workers=1)
    assert {f.message for f in report.findings} == {"3 channels, expected 1 (XAG)"}
    assert "name all channels" in report.findings[0].repair


def test_values_of_0_and_255_come_with_the_repair(tmp_path):
    root = roads(tmp_path / "d", mode="L", value=255, channel_names={"0": "grey"})
    findings = examine(root, workers=1).findings
    assert all("255, absent from the scheme" in f.message for f in findings)
    assert findings[0].repair.endswith("say labels: {road: 255}")


@pytest.mark.parametrize("ending", ["png", ".PNG", "PNG"])
def test_another_spelling_of_file_ending_is_read(tmp_path, ending):
    names = {"0": "R", "1": "G", "2": "B"}
    root = roads(tmp_path / "d", channel_names=names)
    values = json.loads((root / "dataset.json").read_text()) | {"file_ending": ending}
    (root / "dataset.json").write_text(json.dumps(values))
    assert examine(root, workers=1).verdict == SOUND
    assert len(load_dataset(root).cases) == 3


def test_a_file_ending_that_no_file_has_is_named(tmp_path):
    root = roads(tmp_path / "d", channel_names={"0": "R", "1": "G", "2": "B"})
    values = json.loads((root / "dataset.json").read_text()) | {"file_ending": ".nii"}
    (root / "dataset.json").write_text(json.dumps(values))
    with pytest.raises(
        DatasetError, match=r'ends in "file_ending" "\.nii"; found road'
    ):
        load_dataset(root)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("um", [0.0001675, 0.0001675, 0.0003]), ("nm", [1.675e-07, 1.675e-07, 3e-07])],
)
def test_the_voxel_size_of_microscopes_reaches_the_plan(tmp_path, unit, expected):
    metadata = {"spacing": 0.3, "unit": unit, "axes": "ZYX"}
    for n in range(3):
        rng = np.random.default_rng(n)
        image = rng.integers(0, 999, (8, 20, 24)).astype(np.uint16)
        label = np.zeros((8, 20, 24), dtype=np.uint8)
        label[2:5, n : n + 6, 4:9] = 1
        for folder, voxels in (("images", image), ("labels", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(
                tmp_path / folder / f"{n}.tif",
                voxels,
                imagej=True,
                resolution=(1 / 0.1675, 1 / 0.1675),
                metadata=metadata,
            )
    report = examine(tmp_path, workers=1)
    assert report.verdict == SOUND
    plan = make_plan(make_fingerprint(report.dataset, workers=1), report.dataset.scheme)
    assert list(plan.target_spacing) == pytest.approx(expected, rel=1e-5)
