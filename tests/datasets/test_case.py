"""Cases and data sets refuse what cannot be used."""

from dataclasses import replace
from pathlib import Path

import pytest

from medseg.datasets import Case, Dataset, Split, load_dataset
from medseg.errors import DatasetError
from medseg.labels import LabelScheme
from medseg.testing.tiny_study import make_tiny_study


def test_a_case_id_must_be_able_to_name_a_file():
    with pytest.raises(DatasetError, match="cannot be part of a file name"):
        Case("a/b", "p", (Path("a.nii"),))


def test_a_case_needs_an_image():
    with pytest.raises(DatasetError, match="no image"):
        Case("a", "p", ())


def test_a_case_id_that_occurs_twice_is_named():
    case = Case("a", "p", (Path("a.nii"),))
    scheme = LabelScheme(names={"organ": 1})
    with pytest.raises(DatasetError, match=r"1 case ids occur twice \(a\)"):
        Dataset("study", Path("x"), ("MRI",), scheme, (case, case))


def test_a_case_is_found_by_its_id(tmp_path):
    study = load_dataset(make_tiny_study(tmp_path, num_cases=2))
    assert study.case("tiny_001") is study.cases[1]
    with pytest.raises(DatasetError, match="no case is called nobody"):
        study.case("nobody")


def test_the_manifest_hash_ignores_the_place_but_not_the_splits(tmp_path):
    here = load_dataset(make_tiny_study(tmp_path / "here", num_cases=2))
    there = load_dataset(make_tiny_study(tmp_path / "there", num_cases=2))
    assert here.manifest_hash == there.manifest_hash
    first, second = (case.case_id for case in here.cases)
    given = [(), (Split(0, (first,), (second,)),), (Split(0, (second,), (first,)),)]
    assert len({replace(here, splits=splits).manifest_hash for splits in given}) == 3


def test_description_names_the_source_of_patients(tmp_path):
    study = load_dataset(make_tiny_study(tmp_path))
    assert "6 cases of 5 patients" in study.describe()
    assert "column 'patient_id' of cases.csv" in study.describe()
