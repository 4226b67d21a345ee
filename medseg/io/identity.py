"""Keeping patients' names out of text that leaves the DICOM objects."""

import re
from collections.abc import Iterable

_NAME_TAGS = ("PatientName", "PatientID")
_SEPARATORS = re.compile(r"[\^=\s,;]+")
_SHORTEST = 3


def identifiers_of(attributes: Iterable[dict[str, str]]) -> frozenset[str]:
    """Parts of patients' names and their numbers, as headers give them."""
    found: set[str] = set()
    for values in attributes:
        for tag in _NAME_TAGS:
            text = values.get(tag, "").strip()
            found |= {text, *_SEPARATORS.split(text)}
    return frozenset(part for part in found if len(part) >= _SHORTEST)


def masked(text: str, identifiers: frozenset[str]) -> str:
    """The text with every identifier replaced by three asterisks."""
    for part in sorted(identifiers, key=len, reverse=True):
        text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
    return text
