"""Cells that a spreadsheet or a terminal would take for a command."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.tables import (
    csv_text,
    plain_cell,
    read_frame,
    read_rows,
    safe_cell,
    write_frame,
)

COMMANDS = ["=1+1", "+1", "@SUM(1)", "-rf", "--help", "\tx", "\nx", "\rx", "=", "'=x"]


@pytest.mark.parametrize("text", COMMANDS)
def test_commands_begin_with_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert plain_cell(safe_cell(text)) == text


@pytest.mark.parametrize(
    "value", ["-1", "-1.5e-3", "-1 0 0 5.5", "a", "", 3, -2.5, None]
)
def test_numbers_and_plain_texts_stay(value: object) -> None:
    assert safe_cell(value) == value
    assert plain_cell(value) == value


def test_what_no_terminal_should_see_is_escaped() -> None:
    assert safe_cell("a\x1b[31mred\x07") == "a\\x1b[31mred\\x07"
    assert safe_cell("\x1b[31m") == "'\\x1b[31m"
    assert safe_cell("caf\udce9") == "caf\\udce9"


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])), min_size=1
    )
)
def test_rows_come_back(cells: list[str]) -> None:
    columns = [f"c{number}" for number in range(len(cells))]
    found, rows = read_rows(csv_text(columns, [cells]))
    assert found == columns
    assert list(rows[0].values()) == cells if any(cells) or len(cells) > 1 else True


def test_frames_come_back_and_numbers_stay_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"case_id": ["=cmd", "b"], "dice": [-0.5, 1 / 3], "=n": [-1, 2]}
    )
    write_frame(tmp_path / "t.csv", frame)
    text = (tmp_path / "t.csv").read_text()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [
        ["case_id", "dice", "'=n"],
        ["'=cmd", "-0.5", "-1"],
        ["b", "0.333333", "2"],
    ]
    back = read_frame(tmp_path / "t.csv")
    assert list(back.columns) == list(frame.columns)
    assert list(back["case_id"]) == ["=cmd", "b"]
    assert back["dice"].dtype.kind == "f"


def test_names_stay_what_they_are(tmp_path: Path) -> None:
    """Patient 007 is not 7, and neither NA nor None is a patient who is missing."""
    frame = pd.DataFrame(
        {
            "case_id": ["001", "1e3", "-5", "nan"],
            "patient_id": ["007", "7", "NA", "None"],
            "dice": [0.5, float("nan"), 1.0, 0.0],
        }
    )
    write_frame(tmp_path / "t.csv", frame)
    back = read_frame(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)
    assert back.groupby("patient_id")["dice"].size().to_dict() == {
        "007": 1,
        "7": 1,
        "NA": 1,
        "None": 1,
    }
