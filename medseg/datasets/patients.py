"""Tables beside the data: which patient a case shows, and what it does not annotate.

A site that outlined only the tumour did not say where the organ is; taken for
background there, the organ would be unlearnt. The column ``not_annotated`` names such
structures case by case, ``annotated_structures`` names the others; several are
separated by semicolons. Label maps that list what they hold (3D Slicer's
``.seg.nrrd``, DICOM SEG) say it themselves: a structure of the scheme that is not in
the list was not drawn.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medseg.datasets.case import OWN_PATIENT, Case, Dataset
from medseg.errors import InputError, UnreadableFileError
from medseg.io.label_reading import plain_name
from medseg.labels import LabelScheme
from medseg.reading import listed_structures
from medseg.tables import plain_cell

CASE_COLUMNS = ("case_id", "case", "id", "scan_id", "image_id", "name")
PATIENT_COLUMNS = (
    "patient_id", "patient", "subject_id", "subject", "participant_id", "participant",
    "group",
)  # fmt: skip
TABLES = ("cases", "patients", "subjects", "participants")


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV or TSV file; column names lower case with underscores.

    The separator is whichever of comma, semicolon and tab is most frequent in the
    first line. UTF-8 and UTF-16 are read, with or without their marks; what is neither
    is taken as Windows' western encoding, which Excel writes.

    Raises:
        UnreadableFileError: It is not a text table.
    """
    try:
        text = _decoded(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path}: not a readable table: {error}") from error
    lines = text.splitlines(keepends=True)
    separator = max(",;\t", key=lines[0].count) if lines else ","
    try:
        rows = _rows(lines, separator)
    except csv.Error as error:
        raise UnreadableFileError(f"{path}: not a readable table: {error}") from error
    return [
        {
            _plain(key): plain_cell((value or "").strip())
            for key, value in row.items()
            if key
        }
        for row in rows
    ]


def _rows(lines: list[str], separator: str) -> list[dict[str, str | None]]:
    """Rows as the standard has them; else with blanks between quotes and separators."""
    try:
        return list(csv.DictReader(lines, delimiter=separator, strict=True))
    except csv.Error as error:
        if "expected after" not in str(error):
            raise
    return list(csv.DictReader(lines, delimiter=separator, skipinitialspace=True))


def _decoded(data: bytes) -> str:
    """The text of a table in UTF-8, UTF-16 or Windows' western encoding.

    Raises:
        UnicodeDecodeError: It is none of them.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if any(byte < 32 and byte not in b"\t\r\n" for byte in data):
            raise  # no text at all
        return data.decode("cp1252")


def first_column(row: dict[str, str], candidates: tuple[str, ...]) -> str | None:
    """The first of several column names that a table has."""
    return next((name for name in candidates if name in row), None)


def find_patients(folder: Path, case_ids: list[str]) -> tuple[dict[str, str], str]:
    """Patient by case id, and in words where that comes from.

    A table beside the data (``cases``, ``patients``, ``subjects`` or
    ``participants``, .csv or .tsv) with a column of case ids and one of patients is
    used when it names every case; otherwise each case is its own patient.
    """
    for path in side_tables(folder):
        rows = read_table(path)
        if not rows:
            continue
        case_column = first_column(rows[0], CASE_COLUMNS)
        patient_column = first_column(rows[0], PATIENT_COLUMNS)
        if case_column is None or patient_column is None:
            continue
        patients = {row[case_column]: row[patient_column] for row in rows}
        if all(patients.get(case_id) for case_id in case_ids):
            chosen = {case_id: patients[case_id] for case_id in case_ids}
            return chosen, f"patients from column '{patient_column}' of {path.name}"
    return {case_id: case_id for case_id in case_ids}, OWN_PATIENT


def side_tables(folder: Path) -> list[Path]:
    """The tables beside a data set's files that may say more of its cases."""
    names = [f"{stem}{ending}" for stem in TABLES for ending in (".csv", ".tsv")]
    return [folder / name for name in names if (folder / name).is_file()]


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


NOT_ANNOTATED = "not_annotated"
ANNOTATED = "annotated_structures"


def cell_of(row: Mapping[str, str], scheme: LabelScheme) -> tuple[str, ...]:
    """The structures that a row of a table says are not annotated."""
    named = _names(row.get(NOT_ANNOTATED, ""))
    if annotated := _names(row.get(ANNOTATED, "")):
        unknown = tuple(name for name in annotated if name not in scheme.structures)
        rest = tuple(name for name in scheme.structures if name not in annotated)
        named += (*unknown, *rest)  # the data set refuses names that it does not know
    return tuple(dict.fromkeys(named))


def with_annotations(dataset: Dataset) -> Dataset:
    """The data set with what tables beside it and label maps say of its cases.

    Raises:
        DatasetError: A table names a structure that there is not.
    """
    if dataset.scheme.instances or len(dataset.scheme.structures) < 2:
        return dataset
    told = _from_tables(dataset.root, dataset.scheme)

    def complete(case: Case) -> Case:
        found = (*case.unannotated, *told.get(case.case_id, ()))
        found += _from_label(case, dataset.scheme)
        return replace(case, unannotated=tuple(dict.fromkeys(found)))

    return replace(
        dataset,
        cases=tuple(map(complete, dataset.cases)),
        test_cases=tuple(map(complete, dataset.test_cases)),
        unlisted_cases=tuple(map(complete, dataset.unlisted_cases)),
    )


def _from_tables(folder: Path, scheme: LabelScheme) -> dict[str, tuple[str, ...]]:
    """By case id, from the tables that may name patients, too."""
    found: dict[str, tuple[str, ...]] = {}
    for path in side_tables(folder):
        rows = read_table(path)
        column = first_column(rows[0], CASE_COLUMNS) if rows else None
        if column is not None:
            found |= {row[column]: cell_of(row, scheme) for row in rows}
    return found


def _from_label(case: Case, scheme: LabelScheme) -> tuple[str, ...]:
    """Structures missing from a label map's own list, where the list names others."""
    if case.label is None:
        return ()
    try:
        listed = listed_structures(case.label)
    except (InputError, OSError):
        return ()  # whoever reads the voxels says what is wrong
    plain = {plain_name(name) for name in listed}
    missing = tuple(n for n in scheme.structures if plain_name(n) not in plain)
    return missing if len(missing) < len(scheme.structures) else ()


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())
