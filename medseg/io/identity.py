"""Keeping patients' names and numbers out of text that leaves the DICOM objects."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import permutations

_NAMES = "PatientName"
_NUMBERS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthDate")
_SEPARATORS = re.compile(r"[\^=\s,;\\]+")
_SHORTEST = 3
_SHORTEST_COUNT = 5
"""Shorter numbers of accessions are counts elsewhere: masked, they would be told."""
_MODALITIES = {"CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT", "SM"}


def identifiers_of(attributes: Iterable[dict[str, str]]) -> frozenset[str]:
    """Parts of patients' names and their numbers, as headers give them.

    Parts of a name stand also for themselves joined, as folders are called.
    """
    found: set[str] = set()
    for values in attributes:
        names = _parts(values.get(_NAMES, ""))
        found |= {*names, *("".join(pair) for pair in permutations(names[:4], 2))}
        found.add(values.get(_NAMES, "").strip())
        for tag in _NUMBERS:
            text = values.get(tag, "").strip()
            parts = {text, *_parts(text)}
            shortest = _SHORTEST if tag == "PatientID" else _SHORTEST_COUNT
            found |= {part for part in parts if len(part) >= shortest}
    return frozenset(part for part in found if _tells(part))


def masked(text: str, identifiers: frozenset[str]) -> str:
    """The text with every identifier that stands as a word replaced by asterisks.

    Letters and digits are words of their own, so that ``Doe`` is found in ``doe_7``,
    ``DOE7`` and ``7doe``, and not in ``doest``.
    """
    return _pattern(identifiers).sub("***", text) if identifiers else text


def _parts(text: str) -> list[str]:
    return [part for part in _SEPARATORS.split(text.strip()) if part]


def _tells(part: str) -> bool:
    """Whether a part may give a patient away, and is no word of ours."""
    if len(part) >= _SHORTEST:
        return True
    return len(part) == 2 and part.isalpha() and part.upper() not in _MODALITIES


@lru_cache(maxsize=64)
def _pattern(identifiers: frozenset[str]) -> re.Pattern[str]:
    ordered = sorted(identifiers, key=lambda part: (-len(part), part))
    return re.compile("|".join(map(_word, ordered)), re.IGNORECASE)


def _word(part: str) -> str:
    """A pattern for a part that no letter, or no digit, continues at either end."""
    before = _continues(part[0], "(?<!{})")
    after = _continues(part[-1], "(?!{})")
    if len(part) < _SHORTEST:  # two letters are a name as names are written
        forms = "|".join(
            sorted({part, part.upper(), part.capitalize()} - {part.lower()})
        )
        return f"(?-i:{before}(?:{forms}){after})" if forms else "(?!)"
    return f"{before}{re.escape(part)}{after}"


def _continues(end: str, look: str) -> str:
    if end.isdigit():
        return look.format(r"\d")
    return look.format(r"[^\W\d_]") if end.isalpha() else ""
