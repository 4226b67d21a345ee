"""Which code a structure's name stands for in DICOM objects."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medseg.errors import SettingsError
from medseg.settings import Settings, parse_settings, read_yaml
from medseg.structure_colors import rgb_of

_TABLE = Path(__file__).with_name("segment_codes.yaml")
UNKNOWN = "tissue"
"""What a structure is called in the table whose name it does not know."""
_ABNORMAL = "49755003"
"""The category of findings, which lie in something else."""
_LEVEL = re.compile(r"\d+|[ctls]\d{1,2}")
"""Numbers of ribs and vertebrae."""
_SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}


class StructureCode(Settings):
    """Category, type and, where the pages' own is not wanted, colour of a structure."""

    category: tuple[str, str] | tuple[str, str, str]
    """Value, meaning and, unless it is SCT, coding scheme."""
    type: tuple[str, str] | tuple[str, str, str]
    """Value, meaning and, unless it is SCT, coding scheme."""
    color: tuple[int, int, int] | None = None
    """Red, green and blue, 0 to 255, for display; medseg's own where left out."""


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
    color: tuple[int, int, int]
    side: Code | None = None
    region: Code | None = None
    """The organ that an abnormal structure lies in, where its name tells."""

    @property
    def is_finding(self) -> bool:
        """Whether it is abnormal, and lies in something else."""
        return self.category.value == _ABNORMAL


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


def segments_of(structures: Sequence[str], codes: CodeTable) -> list[Segment]:
    """The segments of structures, numbered from 1.

    Raises:
        SettingsError: A synonym leads to a name that is not in the table.
    """
    return [segment_for(name, n, codes) for n, name in enumerate(structures, start=1)]


def segment_for(name: str, number: int, codes: CodeTable) -> Segment:
    """The segment of a structure's name; "Tissue" where the table has no such name.

    "left" and "right" become the modifier of its type, in whatever place; numbers and
    levels (of ribs and vertebrae) are left to the label. An organ before the name of
    an abnormal structure, as in "liver tumour", is where that lies.

    Raises:
        SettingsError: A synonym leads to a name that is not in the table.
    """
    words = re.sub(r"[_\-\s]+", " ", name.lower()).strip().split(" ")
    side = None
    code, organ = _found(words, codes)  # "left atrium" has a code of its own
    if code is None:
        side = next((word for word in words if word in _SIDES), None)
        words = [word for word in words if word != side]
        code, organ = _found(words, codes)
    if code is None:
        words = [word for word in words if not _LEVEL.fullmatch(word)]
        code, organ = _found(words, codes)
    code = code or codes.structures[UNKNOWN]
    return Segment(
        number,
        name,
        Code(*code.category),
        Code(*code.type),
        code.color or rgb_of(number),
        Code(*_SIDES[side]) if side else None,
        None if organ is None else Code(*organ.type),
    )


def without_code(structures: Sequence[str], codes: CodeTable) -> list[str]:
    """Structures whose names the table does not know, so that they become "Tissue"."""
    unknown = codes.structures[UNKNOWN]
    return [
        name
        for name, segment in zip(
            structures, segments_of(structures, codes), strict=True
        )
        if segment.type == Code(*unknown.type) and name.lower() != UNKNOWN
    ]


def _found(
    words: list[str], codes: CodeTable
) -> tuple[StructureCode | None, StructureCode | None]:
    """What words stand for, and the organ before it, in which it lies."""
    code = _looked_up(" ".join(words), codes)
    if code is not None:
        return code, None
    for length in range(1, len(words)):
        organ = _looked_up(" ".join(words[:length]), codes)
        code = _looked_up(" ".join(words[length:]), codes)
        if code is None or organ is None or code.category[0] != _ABNORMAL:
            continue
        return code, organ if organ.category[0] != _ABNORMAL else None
    return None, None


def _looked_up(name: str, codes: CodeTable) -> StructureCode | None:
    """The entry of a name or of what it is a synonym of; None where there is none.

    Raises:
        SettingsError: A synonym leads to a name that is not in the table.
    """
    meant = codes.synonyms.get(name, name)
    if meant != name and meant not in codes.structures:
        raise SettingsError(
            f"segment codes: {name!r} leads to {meant!r}, not in the table"
        )
    return codes.structures.get(meant)


@cache
def _built_in() -> CodeTable:
    return _parse(read_yaml(_TABLE), _TABLE.name)


def _parse(values: Any, source: str) -> CodeTable:
    """The table; further top-level keys may hold YAML anchors."""
    if not isinstance(values, dict):
        raise SettingsError(f"{source}: expected the keys structures and synonyms")
    known = {key: values[key] for key in ("structures", "synonyms") if key in values}
    return parse_settings(CodeTable, known, source=source)
