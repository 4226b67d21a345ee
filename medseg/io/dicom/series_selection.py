"""Choosing series by a rule such as ``Modality=CT,Description~thorax``."""

import re
from dataclasses import dataclass

from medseg.errors import SettingsError
from medseg.io.dicom.frame import ATTRIBUTES
from medseg.io.dicom.series import Series

_CONDITION = re.compile(r"\s*(\w+)\s*(!=|!~|>=|<=|=|~|>|<)\s*(.*?)\s*")
_ALIASES = {
    "description": "SeriesDescription",
    "number": "SeriesNumber",
    "bodypart": "BodyPartExamined",
    "protocol": "ProtocolName",
    "kernel": "ConvolutionKernel",
    "contrast": "ContrastBolusAgent",
    "seriesuid": "SeriesInstanceUID",
    "studyuid": "StudyInstanceUID",
}
_COUNTED = ("Slices", "Part")
_KNOWN = {name.lower(): name for name in (*ATTRIBUTES, *_COUNTED)} | _ALIASES


@dataclass(frozen=True)
class Condition:
    """One comparison of an element with a text or a number."""

    keyword: str
    operator: str
    value: str

    def holds(self, series: Series) -> bool:
        """Whether a series meets it; letters' case does not matter."""
        found = _value_of(series, self.keyword).lower()
        value = self.value.lower()
        if self.operator in ("=", "!="):
            return (found == value) is (self.operator == "=")
        if self.operator in ("~", "!~"):
            return (value in found) is (self.operator == "~")
        return self._compare(found)

    def _compare(self, found: str) -> bool:
        try:
            left, right = float(found), float(self.value)
        except ValueError:
            return False
        return {
            ">": left > right,
            "<": left < right,
            ">=": left >= right,
            "<=": left <= right,
        }[self.operator]


@dataclass(frozen=True)
class SeriesRule:
    """Conditions that must all hold; without any, every series is chosen."""

    conditions: tuple[Condition, ...] = ()

    def chooses(self, series: Series) -> bool:
        """Whether a series meets all conditions."""
        return all(condition.holds(series) for condition in self.conditions)


def parse_rule(text: str | None) -> SeriesRule:
    """A rule from text: conditions joined by commas.

    ``=`` and ``!=`` compare whole values, ``~`` and ``!~`` look for a part, ``>``,
    ``<``, ``>=`` and ``<=`` compare numbers. Keys are DICOM keywords or the short
    forms Description, Number, BodyPart, Protocol, Kernel, Contrast; `Slices` is the
    number of slices, `Part` the part of a split series, such as time03.

    Raises:
        SettingsError: A condition cannot be understood.
    """
    parts = [part for part in (text or "").split(",") if part.strip()]
    return SeriesRule(tuple(_condition(part) for part in parts))


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"series rule {text.strip()!r}: expected key=value, key~part or "
            "key>number, such as Modality=CT,Description~thorax"
        )
    key, operator, value = match.groups()
    if key.lower() not in _KNOWN:
        known = ", ".join(sorted({*_KNOWN.values(), "Description", "Number"}))
        raise SettingsError(f"series rule: unknown key {key}; known keys: {known}")
    return Condition(_KNOWN[key.lower()], operator, value)


def _value_of(series: Series, keyword: str) -> str:
    if keyword == "Slices":
        return str(len(series.frames))
    if keyword == "Part":
        return series.part
    return series.attributes[keyword]
