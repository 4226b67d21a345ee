"""Patients from a table beside the data."""

import pytest

from medseg.datasets.case import OWN_PATIENT
from medseg.datasets.patients import find_patients


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cases.csv", "id,subject\na,s1\nb,s1\n"),
        ("patients.csv", "case_id;patient_id\na;s1\nb;s1\n"),
        ("participants.tsv", "scan_id\tparticipant_id\na\ts1\nb\ts1\n"),
    ],
)
def test_a_table_names_patients(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    patients, source = find_patients(tmp_path, ["a", "b"])
    assert patients == {"a": "s1", "b": "s1"}
    assert name in source


@pytest.mark.parametrize(
    "text", ["", "id,age\na,3\n", "id,subject\na,s1\n", "id,subject\na,s1\nb,\n"]
)
def test_a_table_that_does_not_name_every_case_is_not_used(tmp_path, text):
    (tmp_path / "cases.csv").write_text(text)
    patients, source = find_patients(tmp_path, ["a", "b"])
    assert patients == {"a": "a", "b": "b"}
    assert source == OWN_PATIENT
