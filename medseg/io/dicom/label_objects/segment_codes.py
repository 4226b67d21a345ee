"""Which code a structure's name stands for in DICOM objects."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medseg.errors import SettingsError
from medseg.settings import Settings, parse_settings, read_yaml

_TABLE = Path(__file__).with_name("segment_codes.yaml")
_SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}


class StructureCode(Settings):
    """Category, type and colour of one structure."""

    category: tuple[str, str] | tuple[str, str, str]
    """Value, meaning and, unless it is SCT, coding scheme."""
    type: tuple[str, str] | tuple[str, str, str]
    """Value, meaning and, unless it is SCT, coding scheme."""
    color: tuple[int, int, int] = (128, 174, 128)
    """Red, green and blue, 0 to 255, for display."""


class CodeTable(Settings):
    """Codes by name, as a YAML file holds them."""

    structures: dict[str, StructureCode] = {}
    """Codes by name, in lower case."""
    synonyms: dict[str, str] = {}
    """Other names of the same structures."""


@dataclass(frozen=True)
class Code:
    """One entry of a coding scheme."""

    value: str
    meaning: str
    scheme: str = "SCT"


@dataclass(frozen=True)
class Segment:
    """A structure as a DICOM object describes it."""

    number: int
    name: str
    category: Code
    type: Code
    side: Code | None = None
    color: tuple[int, int, int] = (128, 174, 128)


def load_codes(path: Path | None = None) -> CodeTable:
    """The built-in table, with the entries of a user's own before it.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: The file has another form.
    """
    built_in = _built_in()
    if path is None:
        return built_in
    own = _parse(read_yaml(path), str(path))
    return CodeTable(
        structures={**built_in.structures, **own.structures},
        synonyms={**built_in.synonyms, **own.synonyms},
    )


def segment_for(name: str, number: int, codes: CodeTable) -> Segment:
    """The segment of a structure's name; "Tissue" where the table has no such name.

    Raises:
        SettingsError: A synonym leads to a name that is not in the table.
    """
    words = re.sub(r"[_\-\s]+", " ", name.lower()).strip().split(" ")
    side = next((word for word in words if word in _SIDES), None)
    plain = " ".join(word for word in words if word != side)
    plain = codes.synonyms.get(plain, plain)
    code = codes.structures.get(plain) or codes.structures.get("tissue")
    if code is None or (
        plain in codes.synonyms.values() and plain not in codes.structures
    ):
        raise SettingsError(
            f"segment codes: {name!r} leads to {plain!r}, not in the table"
        )
    return Segment(
        number,
        name,
        Code(*code.category),
        Code(*code.type),
        Code(*_SIDES[side]) if side else None,
        code.color,
    )


@cache
def _built_in() -> CodeTable:
    return _parse(read_yaml(_TABLE), _TABLE.name)


def _parse(values: Any, source: str) -> CodeTable:
    """The table; further top-level keys may hold YAML anchors."""
    if not isinstance(values, dict):
        raise SettingsError(f"{source}: expected the keys structures and synonyms")
    known = {key: values[key] for key in ("structures", "synonyms") if key in values}
    return parse_settings(CodeTable, known, source=source)
