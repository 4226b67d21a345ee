"""Patients' names and numbers kept out of text, and names that stand for them.

A pseudonym is the first twelve hexadecimal digits of HMAC-SHA256 of the identifier,
under a secret key: the same patient always gets the same name, and without the key
nobody can find who it was by trying names. The key lies in a file of its own, away
from every result; who holds it can compute a pseudonym again.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations
from pathlib import Path

from medseg.errors import OutputError, UnreadableFileError
from medseg.user_folders import preferred_folder, user_folder

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


KEY_FILE = "pseudonym.key"
_KEY_BYTES = 32
_DIGITS = 12


@dataclass(frozen=True)
class Pseudonymizer:
    """Turns identifiers into names that do not give them away."""

    key: bytes = field(repr=False)

    def name(self, identifier: str) -> str:
        """Twelve hexadecimal digits that stand for an identifier."""
        digest = hmac.new(
            self.key, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256
        )
        return digest.hexdigest()[:_DIGITS]


def default_key_path() -> Path:
    """Where the key lies unless the user says otherwise: ~/.config/medseg.

    One that can be read is taken there even if nothing can be written; where there is
    none, it belongs in `user_folder`.
    """
    usual = preferred_folder("config")
    if usual is not None and os.access(usual / KEY_FILE, os.R_OK):
        return usual / KEY_FILE
    return user_folder("config") / KEY_FILE


def load_pseudonymizer(key_path: Path | None = None) -> Pseudonymizer:
    """The pseudonyms of a key file, which is made, readable by its owner, if absent.

    Raises:
        UnreadableFileError: The file does not hold a key.
        OutputError: The file is absent and cannot be made.
    """
    path = key_path or default_key_path()
    if not os.path.lexists(path):
        _make_key(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{path}: cannot be read as a key") from error
    if len(key) < _KEY_BYTES:
        raise UnreadableFileError(
            f"{path}: a key of {len(key)} bytes, expected {_KEY_BYTES}"
        )
    return Pseudonymizer(key)


def _make_key(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Exclusive: of two programs that start together, one makes the key.
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
