"""What is masked in messages, and that masks give nothing away."""

import pytest

from medseg.io.identity import identifiers_of, masked
from medseg.plain_text import without_dates_and_uids


def shown(text: str, **header: str) -> str:
    return masked(text, identifiers_of([header]))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # one-part names, names in folders, joined and in any case
        ("PLANTED", "PLANTED/ct.dcm: damaged", "***/ct.dcm: damaged"),
        ("Doe^John", "doe_7/DOE7/7doe/john.doe", "***_7/***7/7***/***.***"),
        ("Doe^John", "JohnDoe/doejohn x", "***/*** x"),
        ("Li^Wei", "Li_Wei LI li in line", "***_*** *** li in line"),
        ("Ünal^Çelik", "ünal/ÇELIK", "***/***"),
        # names that are words: never a part of a word, which would tell the name
        ("Pre^Seg", "a presentation, a segmentation", "a presentation, a segmentation"),
        ("Mask^Tom", "unmasked tomography, mask", "unmasked tomography, ***"),
        ("Age", "images of an aged man", "images of an aged man"),
        ("CT^X", "CT series 3", "CT series 3"),
        ("A^B", "a b", "a b"),
    ],
)
def test_names_are_masked_as_whole_words(name: str, text: str, expected: str) -> None:
    assert shown(text, PatientName=name) == expected


@pytest.mark.parametrize(
    ("tag", "value", "text", "expected"),
    [
        ("PatientID", "4711", "p4711/147110/4711", "p***/147110/***"),
        ("PatientID", "PID-77123", "x_PID-77123-0.dcm", "x_***-0.dcm"),
        ("AccessionNumber", "ACC-99887", "ACC-99887/i", "***/i"),
        ("AccessionNumber", "100", "100 slices", "100 slices"),
        ("OtherPatientIDs", "ALT-5512\\9876543", "ALT-5512 9876543", "*** ***"),
        ("PatientBirthDate", "19480229", "b19480229", "b***"),
    ],
)
def test_so_are_numbers(tag: str, value: str, text: str, expected: str) -> None:
    assert shown(text, **{tag: value}) == expected


def test_dates_and_identifiers_are_masked_whatever_the_header_says() -> None:
    text = "1.2.840.20310704.5.6/2031-07-04/1.2.3.4.5.dcm at 10.0.0.1, version 1.2.3"
    cleaned = without_dates_and_uids(text)
    assert cleaned == "***/***/***.dcm at 10.0.0.1, version 1.2.3"


def test_without_identifiers_nothing_is_masked() -> None:
    assert masked("a text", frozenset()) == "a text"
    assert identifiers_of([{"PatientName": "", "PatientID": " "}]) == frozenset()
