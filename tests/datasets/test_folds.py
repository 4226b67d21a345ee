"""Folds: by patient, equal in cases, repeatable, respectful of folds that are given."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.datasets import Case, Dataset, Split, make_folds, make_splits
from medseg.datasets.splits import folds_of_splits, splits_of_folds
from medseg.errors import DatasetError
from medseg.labels import LabelScheme

SCHEME = LabelScheme(names={"organ": 1})


def dataset(patients: list[str], splits: tuple[Split, ...] = ()) -> Dataset:
    cases = tuple(
        Case(f"c{n}", patient, (Path(f"{n}.nii"),), Path(f"{n}_seg.nii"))
        for n, patient in enumerate(patients)
    )
    return Dataset("study", Path("study"), ("MRI",), SCHEME, cases, splits=splits)


PATIENTS = st.lists(st.integers(0, 30).map(str), min_size=5, max_size=80).filter(
    lambda patients: len(set(patients)) >= 5
)


@given(PATIENTS, st.integers(0, 9), st.integers(2, 5))
def test_no_patient_is_in_two_folds(patients, seed, num_folds):
    study = dataset(patients)
    folds = make_folds(study, num_folds=num_folds, seed=seed)
    assert list(folds) == [case.case_id for case in study.cases]
    by_patient = {(case.patient_id, folds[case.case_id]) for case in study.cases}
    assert len(by_patient) == len(set(patients))
    assert set(folds.values()) == set(range(num_folds))


@given(PATIENTS, st.integers(0, 9))
def test_folds_differ_by_at_most_the_largest_patient(patients, seed):
    sizes = Counter(make_folds(dataset(patients), num_folds=3, seed=seed).values())
    assert max(sizes.values()) - min(sizes.values()) <= max(Counter(patients).values())


def test_one_case_each_gives_equal_folds():
    study = dataset([str(n) for n in range(20)])
    assert set(Counter(make_folds(study).values()).values()) == {4}


def test_the_same_seed_gives_the_same_folds_and_another_others():
    study = dataset([str(n) for n in range(20)])
    assert make_folds(study, seed=1) == make_folds(study, seed=1)
    assert make_folds(study, seed=1) != make_folds(study, seed=2)


def test_the_order_of_cases_does_not_matter():
    study = dataset([str(n) for n in range(20)])
    turned = Dataset("study", Path(), ("MRI",), SCHEME, study.cases[::-1])
    assert make_folds(study) == make_folds(turned)


def test_splits_that_are_given_are_kept():
    given = (Split(2, ("c0", "c1"), ("c2",)), Split(5, ("c2",), ("c0",)))
    assert make_splits(dataset(["a", "b", "c"], given), num_folds=3) == given


def test_without_given_splits_folds_are_made():
    study = dataset(["a", "a", "b", "c"])
    (first, second) = make_splits(study, num_folds=2)
    assert (set(first.train), set(first.val)) == (set(second.val), set(second.train))
    assert {"c0", "c1"} <= set(first.val) or {"c0", "c1"} <= set(first.train)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(3, ("c0", "c1"), ("c2",)), "fold 3 trains on c1 and validates on c2"),
        (Split(0, ("c0", "c1"), ("c1",)), "fold 0 has c1 in both train and val"),
        (Split(1, ("c0", "cc1"), ("c2",)), r"fold 1 names cc1, .* \(nearest: c1\)"),
        (Split(1, ("c0", "c0"), ("c2",)), "fold 1 lists c0 twice under train"),
        (Split(1, ("c0",), ("c2", "c2")), "fold 1 lists c2 twice under val"),
    ],
)
def test_splits_that_cannot_be_kept_are_refused_by_name(split, message):
    with pytest.raises(DatasetError, match=message):
        make_splits(dataset(["a", "b", "b"], (split,)))


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 9), min_size=1))
def test_folds_become_splits_and_back(folds):
    assert folds_of_splits(splits_of_folds(folds)) == folds


@pytest.mark.parametrize(
    "splits",
    [
        (Split(0, ("a",), ("b",)),),
        (Split(0, ("a", "b"), ("c",)), Split(1, ("a",), ("c",))),
        (Split(0, ("a",), ("b",)), Split(1, ("b", "c"), ("a",))),
    ],
)
def test_splits_that_are_no_cross_validation_are_no_folds(splits):
    assert folds_of_splits(splits) is None


def test_too_few_patients_are_named():
    with pytest.raises(DatasetError, match=r"2 patients .* cannot be split into 5"):
        make_folds(dataset(["a", "b", "b", "b", "b", "b"]))


def test_a_data_set_without_cases_says_so():
    with pytest.raises(DatasetError, match="no case has both an image and a label map"):
        make_folds(dataset([]))
