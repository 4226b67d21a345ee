"""One tiny study in every layout; each must give the same cases."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medseg.datasets import Split, load_dataset
from medseg.errors import (
    DatasetError,
    MissingFileError,
    SettingsError,
    UnreadableFileError,
)
from medseg.io import read_label_map, read_volume, write_label_map, write_volume
from medseg.labels import LabelScheme
from medseg.testing.tiny_study import make_tiny_study
from medseg.volume import LabelMap, Volume

NAMES = ("tiny_000", "tiny_001", "tiny_002")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny_study(tmp_path / "tiny", num_cases=3, shape=(8, 9, 7))


def place(tiny: Path, folder: Path, image: str, label: str) -> Path:
    """The tiny study's files under names in which {} stands for the case."""
    for name in NAMES:
        for source, target in (("imagesTr", image), ("labelsTr", label)):
            path = folder / target.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tiny / source / f"{name}.nii.gz", path)
    return folder


def ids(folder: Path) -> tuple[str, ...]:
    return tuple(case.case_id for case in load_dataset(folder).cases)


def test_decathlon(tiny):
    study = load_dataset(tiny)
    assert study.layout == "Medical Segmentation Decathlon"
    assert tuple(case.case_id for case in study.cases) == NAMES
    assert study.scheme.names == {"ball": 1, "kernel": 2}
    assert study.patients == ("patient_001", "patient_002")


def test_decathlon_lists_what_is_held_out_and_what_is_left_over(tiny):
    path = tiny / "dataset.json"
    values = json.loads(path.read_text())
    values["test"] = ["./imagesTs/other.nii.gz"]
    values["training"].pop()
    path.write_text(json.dumps(values))
    study = load_dataset(tiny)
    assert [case.case_id for case in study.test_cases] == ["other"]
    assert [p.name for p in study.orphans] == ["tiny_002.nii.gz"] * 2


def test_a_monai_data_list(tiny):
    values = json.loads((tiny / "dataset.json").read_text())
    first, second, third = values["training"]
    first["image"] = [first["image"], first["image"].replace("000", "001")]
    values |= {"training": [first, second], "validation": [third]}
    (tiny / "list.json").write_text(json.dumps(values))
    study = load_dataset(tiny / "list.json")
    assert [len(case.images) for case in study.cases] == [2, 1, 1]
    first, second, third = (case.case_id for case in study.cases)
    assert study.splits == (Split(0, train=(first, second), val=(third,)),)


def test_folds_of_a_data_list_are_kept(tiny):
    values = json.loads((tiny / "dataset.json").read_text())
    for number, entry in enumerate(values["training"]):
        entry["fold"] = number % 2
    (tiny / "list.json").write_text(json.dumps(values))
    study = load_dataset(tiny / "list.json")
    a, b, c = (case.case_id for case in study.cases)
    assert study.splits == (Split(0, (b,), (a, c)), Split(1, (a, c), (b,)))
    del values["training"][1]["fold"]
    (tiny / "list.json").write_text(json.dumps(values))
    study = load_dataset(tiny / "list.json")
    assert study.splits == (Split(0, (), (a, c)),)
    assert [case.case_id for case in study.unlisted_cases] == [b]


@pytest.mark.parametrize("fold", ["one", -1, 0.5])
def test_a_fold_of_a_data_list_that_is_no_number_is_refused(tiny, fold):
    values = json.loads((tiny / "dataset.json").read_text())
    values["training"][0]["fold"] = fold
    (tiny / "list.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match="expected a whole number from 0"):
        load_dataset(tiny / "list.json")


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}.nii.gz", "labels/{}.nii.gz"),
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
        ("Scans/{}.nii.gz", "Masks/{}_mask.nii.gz"),
        ("{}_image.nii.gz", "{}_label.nii.gz"),
        ("{}.nii.gz", "{}_seg.nii.gz"),
        ("{0}/{0}_t1.nii.gz", "{0}/{0}_seg.nii.gz"),
        ("{}/t1.nii.gz", "{}/seg.nii.gz"),
    ],
)
def test_pairs_are_understood_without_renaming(tiny, tmp_path, image, label):
    assert ids(place(tiny, tmp_path / "study", image, label)) == NAMES


def test_stray_files_are_passed_over(tiny, tmp_path):
    study = place(tiny, tmp_path / "s", "images/{}.nii.gz", "labels/{}.nii.gz")
    for name in (".DS_Store", "images/.DS_Store", "images/._tiny_000.nii.gz", "a.txt"):
        (study / name).write_bytes(b"\0\5\x16\7")
    assert ids(study) == NAMES
    assert load_dataset(study).orphans == ()


def test_subfolders_name_patients(tiny, tmp_path):
    study = place(tiny, tmp_path / "s", "images/p1/{}.nii.gz", "labels/p1/{}.nii.gz")
    found = load_dataset(study)
    assert found.patients == ("p1",)
    assert found.patient_source == "patients from the names of the subfolders"


def test_a_table_beside_pairs_names_patients(tiny, tmp_path):
    study = place(tiny, tmp_path / "s", "images/{}.nii.gz", "labels/{}.nii.gz")
    shutil.copy(tiny / "cases.csv", study / "cases.csv")
    assert load_dataset(study).patients == ("patient_001", "patient_002")


def test_test_images_are_held_out(tiny, tmp_path):
    study = place(tiny, tmp_path / "s", "imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz")
    (study / "imagesTs").mkdir()
    shutil.copy(tiny / "imagesTr/tiny_000.nii.gz", study / "imagesTs/new.nii.gz")
    assert [case.case_id for case in load_dataset(study).test_cases] == ["new"]


def nnunet(tiny: Path, folder: Path, **values: object) -> Path:
    place(tiny, folder, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps(values))
    return folder


def test_nnunet_second_version(tiny, tmp_path):
    study = load_dataset(
        nnunet(
            tiny,
            tmp_path / "Dataset001_Tiny",
            channel_names={"0": "CT"},
            labels={"background": 0, "ball": 1, "kernel": 2, "ignore": 3},
            file_ending=".nii.gz",
        )
    )
    assert study.layout == "nnU-Net raw"
    assert study.channels == ("CT",)
    assert tuple(case.case_id for case in study.cases) == NAMES
    assert study.scheme.ignore == 3
    assert study.scheme.names == {"ball": 1, "kernel": 2}


def test_nnunet_first_version(tiny, tmp_path):
    entry = {
        "image": "./imagesTr/tiny_000.nii.gz",
        "label": "./labelsTr/tiny_000.nii.gz",
    }
    study = load_dataset(
        nnunet(
            tiny,
            tmp_path / "Task001_Tiny",
            name="Tiny",
            modality={"0": "MRI"},
            labels={"0": "background", "1": "ball", "2": "kernel"},
            training=[entry],
        )
    )
    assert study.layout == "nnU-Net raw"
    assert tuple(case.case_id for case in study.cases) == NAMES


def test_nnunet_regions(tiny, tmp_path):
    labels = {"background": 0, "whole": [1, 2], "kernel": 2}
    folder = nnunet(tiny, tmp_path / "d", channel_names={"0": "MRI"}, labels=labels)
    scheme = load_dataset(folder).scheme
    assert scheme.names == {"label_1": 1, "kernel": 2}
    assert scheme.regions == {"whole": ("label_1", "kernel"), "kernel": ("kernel",)}


def test_nnunet_splits_are_kept(tiny, tmp_path):
    folder = nnunet(
        tiny,
        tmp_path / "d",
        channel_names={"0": "MRI"},
        labels={"background": 0, "ball": 1, "kernel": 2},
    )
    first, second, third = NAMES
    splits = [{"train": [first], "val": [second]}, {"train": [second], "val": [first]}]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    study = load_dataset(folder)
    assert study.splits == (
        Split(0, (first,), (second,)),
        Split(1, (second,), (first,)),
    )
    assert [case.case_id for case in study.unlisted_cases] == [third]
    assert study.orphans == ()


@pytest.mark.parametrize(
    "splits",
    [{"train": [], "val": []}, [{"val": []}], [{"train": "abc", "val": []}], [[1]], 7],
)
def test_nnunet_splits_of_another_form_are_refused(tiny, tmp_path, splits):
    folder = nnunet(
        tiny,
        tmp_path / "d",
        channel_names={"0": "MRI"},
        labels={"background": 0, "ball": 1, "kernel": 2},
    )
    (folder / "splits_final.json").write_text(json.dumps(splits))
    with pytest.raises(UnreadableFileError, match="json: expected a list"):
        load_dataset(folder)


def test_nnunet_lists_a_missing_channel(tiny, tmp_path):
    folder = nnunet(
        tiny,
        tmp_path / "d",
        channel_names={"0": "T1", "1": "T2"},
        labels={"background": 0, "ball": 1, "kernel": 2},
    )
    images = load_dataset(folder).cases[0].images
    assert [path.name for path in images] == [
        "tiny_000_0000.nii.gz",
        "tiny_000_0001.nii.gz",
    ]


def test_nnunet_files_may_lie_anywhere(tiny, tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    image = str(tiny / "imagesTr/tiny_000.nii.gz")
    values = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "ball": 1, "kernel": 2},
        "file_ending": ".nii.gz",
        "dataset": {
            "one": {"images": [image], "label": image.replace("image", "label")}
        },
    }
    (folder / "dataset.json").write_text(json.dumps(values))
    case = load_dataset(folder).cases[0]
    assert case.case_id == "one"
    assert case.label is not None
    assert case.label.exists()


def bids(tiny: Path, folder: Path) -> Path:
    for number, name in enumerate(NAMES):
        anat = folder / f"sub-{number}" / "anat"
        derived = folder / "derivatives" / "manual" / f"sub-{number}" / "anat"
        for place_, source, end in (
            (anat, "imagesTr", "T1w"),
            (anat, "imagesTr", "FLAIR"),
            (derived, "labelsTr", "space-T1w_dseg"),
        ):
            place_.mkdir(parents=True, exist_ok=True)
            target = place_ / f"sub-{number}_{end}.nii.gz"
            shutil.copy(tiny / source / f"{name}.nii.gz", target)
    return folder


def test_bids(tiny, tmp_path):
    study = load_dataset(bids(tiny, tmp_path / "bids"))
    assert study.layout == "BIDS derivatives"
    assert [case.case_id for case in study.cases] == ["sub-0", "sub-1", "sub-2"]
    assert study.channels == ("FLAIR", "T1w")
    assert study.patient_source == "patients from the BIDS subjects"


def test_bids_names_of_values(tiny, tmp_path):
    folder = bids(tiny, tmp_path / "bids")
    table = "index\tname\n0\tbackground\n1\tball\n2\tkernel\n"
    (folder / "derivatives" / "manual" / "desc-manual_dseg.tsv").write_text(table)
    assert load_dataset(folder).scheme.names == {"ball": 1, "kernel": 2}


def test_bids_with_two_label_maps_asks_for_a_manifest(tiny, tmp_path):
    folder = bids(tiny, tmp_path / "bids")
    first = next(folder.rglob("sub-0*dseg.nii.gz"))
    shutil.copy(first, first.with_name("sub-0_desc-b_dseg.nii.gz"))
    with pytest.raises(DatasetError, match="sub-0 has several label maps"):
        load_dataset(folder)


def test_an_unknown_folder_lists_what_was_found_and_looked_for(tmp_path):
    (tmp_path / "notes").mkdir()
    image = Volume(np.zeros((1, 2, 2, 2), np.uint8), np.eye(4))
    write_volume(tmp_path / "notes" / "a.nii.gz", image)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tmp_path)
    message = str(caught.value)
    assert "Found: folders notes; scans 1 .nii.gz" in message
    assert "manifest.csv" in message
    assert "images/ and labels/" in message
    assert "\n" not in message


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        load_dataset(tmp_path / "nowhere")


def test_broken_json_is_named(tiny):
    (tiny / "dataset.json").write_text("{")
    with pytest.raises(OSError, match=r"dataset.json: not valid JSON"):
        load_dataset(tiny)


def test_json_without_labels_says_what_to_add(tiny):
    values = json.loads((tiny / "dataset.json").read_text())
    del values["labels"]
    (tiny / "dataset.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match='names no label; add "labels"'):
        load_dataset(tiny)


def test_a_scheme_that_is_given_wins(tiny):
    scheme = LabelScheme(names={"all": 1})
    assert load_dataset(tiny, scheme=scheme).scheme is scheme


def test_a_description_in_the_folder_wins(tiny):
    (tiny / "dataset.yaml").write_text("name: Mine\nlabels: {a: 1, b: 2}\n")
    study = load_dataset(tiny)
    assert study.name == "Mine"
    assert study.scheme.names == {"a": 1, "b": 2}


def test_a_typing_error_in_a_description_is_named(tiny):
    (tiny / "dataset.yaml").write_text("lables: {a: 1}\n")
    with pytest.raises(SettingsError, match="lables: unknown key"):
        load_dataset(tiny)


def test_a_mask_of_255_is_a_foreground(tiny, tmp_path):
    study = place(tiny, tmp_path / "s", "images/{}.nii.gz", "labels/{}.nii.gz")
    for path in (study / "labels").iterdir():
        label = read_label_map(path)
        mask = np.where(label.voxels > 0, 255, 0).astype(np.uint8)
        write_label_map(path, LabelMap(mask, label.affine))
    assert load_dataset(study).scheme.names == {"foreground": 255}


def test_channels_of_one_file_are_counted(tmp_path):
    tiny = make_tiny_study(tmp_path / "t", num_cases=3, shape=(8, 9, 7), num_channels=2)
    study = place(tiny, tmp_path / "s", "images/{}.nii.gz", "labels/{}.nii.gz")
    assert load_dataset(study).channels == ("channel_0", "channel_1")


def test_a_tiny_study_is_what_it_says(tiny):
    image = read_volume(tiny / "imagesTr" / "tiny_000.nii.gz")
    label = read_label_map(tiny / "labelsTr" / "tiny_000.nii.gz")
    assert image.grid.mismatch(label.grid) == ""
    assert set(np.unique(label.voxels)) == {0, 1, 2}
    means = [image.voxels[0][label.voxels == value].mean() for value in range(3)]
    np.testing.assert_allclose(means, [100, 300, 500], atol=40)
