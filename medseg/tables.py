"""CSV tables whose cells no spreadsheet or terminal takes for a command.

A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab, a line break or an escape
is written with an apostrophe before it, as spreadsheets do themselves; numbers, and
rows of numbers, stay as they are. Characters that no terminal should see, and bytes
that are no UTF-8, become escapes. `plain_cell` takes the apostrophe away again.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.files import atomic_write, write_text

if TYPE_CHECKING:
    import pandas as pd

_COMMAND = re.compile(r"'*[=+\-@\t\r\n\x1b]")
_NUMBERS = re.compile(r"-[\d.][\d.eE+\- ]*|-inf|-nan", re.IGNORECASE)
_NAMES = ("case_id", "patient_id", "structure", "variation", "first", "second")
"""Columns that hold names, whatever these look like."""
_MISSING = ["", "nan", "NaN"]
"""What stands for no number; `write_frame` writes nothing."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[\ud800-\udfff]")


def safe_cell(value: Any) -> Any:
    """The value as it may stand in a table; only texts change."""
    if not isinstance(value, str):
        return value
    is_command = _COMMAND.match(value) and not _NUMBERS.fullmatch(value)
    text = _UNPRINTABLE.sub(_escaped, value)
    return f"'{text}" if is_command else text


def plain_cell(text: Any) -> Any:
    """The value that `safe_cell` was given."""
    if isinstance(text, str) and text.startswith("'") and _COMMAND.match(text[1:]):
        return text[1:]
    return text


def csv_row(cells: Iterable[Any]) -> str:
    """One line of a table."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([safe_cell(c) for c in cells])
    return stream.getvalue()


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A whole table."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([safe_cell(column) for column in columns])
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return stream.getvalue()


def write_rows(
    path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]
) -> None:
    """Writes a table whole, or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(path, csv_text(columns, rows))


def write_frame(path: Path, frame: "pd.DataFrame", *, digits: int | None = 6) -> None:
    """Writes a frame without its index, whole or not at all.

    Args:
        path: The file.
        frame: What to write.
        digits: Significant digits of fractions; None keeps all.

    Raises:
        OutputError: It cannot be written.
    """
    form = None if digits is None else f"%.{digits}g"
    with atomic_write(path) as temporary:
        safe_frame(frame).to_csv(temporary, index=False, float_format=form)


def safe_frame(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with texts, and names of columns, as they may stand in a table."""
    from pandas.api.types import is_numeric_dtype

    safe = frame.copy(deep=False)
    for name in safe.columns:
        if not is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(safe_cell)
    safe.columns = [safe_cell(column) for column in safe.columns]
    return safe


def read_frame(path: Path, **options: Any) -> "pd.DataFrame":
    """A table that `write_frame` wrote.

    Names stay texts: patient 007 is not 7, and one called NA is not missing.

    Args:
        path: The file.
        options: As `pandas.read_csv` takes them.
    """
    import pandas as pd

    columns = pd.read_csv(path, nrows=0).columns
    missing = {name: _MISSING for name in columns if name not in _NAMES}
    usual: dict[str, Any] = {
        "dtype": {name: str for name in columns if name in _NAMES},
        "keep_default_na": False,
        "na_values": missing,
    }
    frame = pd.read_csv(path, **{**usual, **options})
    for name in frame.columns:
        if frame[name].dtype.kind == "O" or str(frame[name].dtype).startswith("str"):
            frame[name] = frame[name].map(plain_cell, na_action="ignore")
    named: pd.DataFrame = frame.rename(columns=plain_cell)
    return named


def read_rows(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a table that these functions wrote.

    Raises:
        ValueError: It is no such table.
    """
    try:
        reader = csv.DictReader(io.StringIO(text))
        rows = [
            {plain_cell(key): plain_cell(value) for key, value in row.items()}
            for row in reader
        ]
        return [plain_cell(name) for name in reader.fieldnames or []], rows
    except (csv.Error, AttributeError, TypeError) as error:
        raise ValueError("not a table that medseg wrote") from error


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
