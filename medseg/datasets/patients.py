"""Which case shows which patient, from a table beside the data."""

import csv
import re
from pathlib import Path

from medseg.datasets.case import OWN_PATIENT
from medseg.errors import UnreadableFileError
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
