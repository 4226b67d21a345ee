"""Folds: by patient, equal in cases, repeatable, respectful of folds that are given."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.datasets import Case, Dataset, make_folds
from medseg.errors import DatasetError
from medseg.labels import LabelScheme

SCHEME = LabelScheme(names={"organ": 1})


def dataset(patients: list[str], folds: list[int | None] | None = None) -> Dataset:
    folds = folds or [None] * len(patients)
    cases = tuple(
        Case(f"c{n}", patient, (Path(f"{n}.nii"),), Path(f"{n}_seg.nii"), fold)
        for n, (patient, fold) in enumerate(zip(patients, folds, strict=True))
    )
    return Dataset("study", Path("study"), ("MRI",), SCHEME, cases)


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


def test_folds_that_are_given_are_kept():
    study = dataset(["a", "b", "c"], [2, 0, 1])
    assert make_folds(study, num_folds=5) == {"c0": 2, "c1": 0, "c2": 1}


def test_patients_without_a_fold_fill_the_folds_that_are_given():
    study = dataset(["a", "a", "b", "c"], [0, 0, None, None])
    folds = make_folds(study, num_folds=2)
    assert folds["c0"] == folds["c1"] == 0
    assert folds["c2"] == folds["c3"] == 1


def test_a_patient_divided_by_given_folds_is_refused():
    with pytest.raises(DatasetError, match="patient a is in folds 0 and 1"):
        make_folds(dataset(["a", "a"], [0, 1]))


def test_too_few_patients_are_named():
    with pytest.raises(DatasetError, match=r"2 patients .* cannot be split into 5"):
        make_folds(dataset(["a", "b", "b", "b", "b", "b"]))


def test_a_data_set_without_cases_says_so():
    with pytest.raises(DatasetError, match="no case has both an image and a label map"):
        make_folds(dataset([]))
