"""Names that stand for patients and series outside DICOM objects.

A pseudonym is the first twelve hexadecimal digits of HMAC-SHA256 of the identifier,
under a secret key: the same patient always gets the same name, and without the key
nobody can find who it was by trying names. The key lies in a file of its own, away
from every result; who holds it can compute a pseudonym again.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import OutputError, UnreadableFileError
from medseg.user_folders import preferred_folder, user_folder

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
