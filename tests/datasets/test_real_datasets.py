"""The data sets the project is tried on load as they are."""

from collections import Counter
from pathlib import Path

import pytest

from medseg.datasets import load_dataset, make_folds, make_splits
from medseg.datasets.description import read_description
from medseg.datasets.doctor import read_sums

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".." / "shared" / "data"
MANIFESTS = ROOT / "data_manifests"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no data beside the checkout")


@needs_data
@pytest.mark.parametrize(
    ("name", "num_cases", "num_patients", "channels"),
    [
        ("hippocampus", 200, 134, ("MRI",)),
        ("em_membrane", 24, 24, ("image",)),
        ("glioma_3d", 88, 88, ("channel_0", "channel_1", "channel_2")),
        ("brats2013", 2, 2, ("flair", "t1c")),
        ("radiomics_cases", 4, 4, ("image",)),
        ("nuclei", 531, 213, ("red", "green", "blue")),
    ],
)
def test_folders_load_by_themselves(name, num_cases, num_patients, channels):
    study = load_dataset(DATA / name)
    assert len(study.cases) == num_cases
    assert len(study.patients) == num_patients
    assert study.channels == channels
    assert study.orphans == ()


@needs_data
@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda p: p.stem)
def test_descriptions_load(path):
    study = load_dataset(path, root=DATA / path.stem)
    assert study.scheme_source == "as described"
    assert all(
        file.is_file() for case in study.cases for file in (*case.images, case.label)
    )


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda p: p.stem)
def test_descriptions_are_complete(path):
    description = read_description(path)
    assert description.source
    assert description.licence
    assert description.citation
    assert len(read_sums(path.parent / description.checksums)) > 0


@needs_data
def test_membrane_is_value_0_and_folds_are_blocks():
    path = MANIFESTS / "em_membrane.yaml"
    study = load_dataset(path, root=DATA / "em_membrane")
    assert study.scheme.values == (255, 0)
    folds = {n: split.fold for split in make_splits(study) for n in split.val}
    assert [folds[f"slice_{n:02d}"] for n in (0, 5, 6, 23)] == [0, 0, 1, 3]


@needs_data
def test_hippocampus_is_split_by_subject():
    study = load_dataset(DATA / "hippocampus")
    folds = make_folds(study)
    assert set(Counter(folds.values()).values()) == {40}
    by_subject = {(case.patient_id, folds[case.case_id]) for case in study.cases}
    assert len(by_subject) == 134


@needs_data
def test_glioma_folds_are_those_of_the_table():
    study = load_dataset(MANIFESTS / "glioma_3d.yaml", root=DATA / "glioma_3d")
    splits = make_splits(study)
    assert {split.fold: len(split.val) for split in splits} == dict.fromkeys(
        range(4), 22
    )
    assert {len(split.train) for split in splits} == {66}


@needs_data
@pytest.mark.parametrize(
    ("name", "num_cases", "num_patients"),
    [
        ("brats2013", 2, 2),
        ("em_membrane", 24, 4),
        ("glioma_2d", 1094, 88),
        ("glioma_3d", 88, 88),
        ("hippocampus", 200, 134),
        ("nuclei", 531, 213),
    ],
)
def test_manifests_group_by_patient_and_list_every_file(name, num_cases, num_patients):
    path = MANIFESTS / f"{name}.yaml"
    study = load_dataset(path, root=DATA / name)
    cases = (*study.cases, *study.test_cases)
    patients = {case.patient_id for case in cases}
    assert (len(cases), len(patients)) == (num_cases, num_patients)
    listed = set(read_sums(path.parent / read_description(path).checksums))
    for case in study.cases:
        for file in (*case.images, case.label):
            assert file.relative_to(study.root).as_posix() in listed


@needs_data
def test_every_manifest_has_its_row_in_the_table():
    rows = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    for path in MANIFESTS.glob("*.yaml"):
        assert f"| {path.stem} |" in rows
