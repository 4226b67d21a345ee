"""Text that may stand in a table, on a terminal and in a file's name."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

_LONGEST_NAME = 150
_UNSAFE_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_DATES = re.compile(r"(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:[0-2]\d|3[01])\d*")
_PART = r"""[^\s/\\:;,'"<>|()\[\]](?:[^\n/\\:;,'"<>|()\[\]]*[^\s/\\:;,'"<>|()\[\]])?"""
"""A folder's name in a message, blanks in it or not."""
_FOLDERS = re.compile(
    rf"(?:(?:sqlite|file):/*|(?<![\w./:<-]))/(?:{_PART}/)+"
    rf"|\b[A-Za-z]:\\(?:{_PART}\\)+"
)
"""Folders at the beginning of absolute paths, of POSIX and of Windows."""
_UIDS = re.compile(r"(?<!\d)\d+(?:\.\d+){4,}")


def one_line(text: str) -> str:
    """The text in one line that every terminal and CSV reader takes.

    Bytes that are no UTF-8, as old file names hold them, appear as escapes.
    """
    encodable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in encodable).split())


def safe_name(text: str) -> str:
    """A file name that says what the text says, distinct where texts are.

    Names that need no change stay as they are; others end in eight digits of their
    hash. A name never begins like a formula or an option, and fits any file system
    with a suffix behind it.
    """
    encodable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    name = _UNSAFE_IN_NAMES.sub("_", encodable)
    if name.startswith(tuple("=+-@. ")):
        name = f"_{name[1:]}"
    if name == text and len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    tail = name.encode()[-_LONGEST_NAME:].decode("utf-8", "ignore")
    return f"{tail}_{digest}"


def distinct_names(texts: Sequence[str], places: Sequence[bytes]) -> list[str]:
    """Safe file names for some texts, all different even where case does not count.

    Args:
        texts: What things are called.
        places: What tells things of equal names apart, such as their paths.
    """
    names = [safe_name(text) for text in texts]
    count = Counter(name.casefold() for name in names)
    return [
        name
        if count[name.casefold()] == 1
        else f"{name}_{hashlib.sha256(place).hexdigest()[:8]}"
        for name, place in zip(names, places, strict=True)
    ]


def without_dates_and_uids(text: str) -> str:
    """The text with all that reads like a day (20240131) or a DICOM UID masked."""
    return _DATES.sub("***", _UIDS.sub("***", text))


def without_folders(text: str, folders: Iterable[Path] = ()) -> str:
    """The text with the folders of absolute paths left out, each path's end kept.

    A folder of somebody's machine means nothing elsewhere, and may name somebody.
    Addresses of servers stay.

    Args:
        text: A message or a log.
        folders: Known ones, below which paths are kept whole, blanks in them or not.
    """
    known = {str(folder.absolute()) for folder in folders}
    for name in sorted(known - {"/"}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.\\-]){re.escape(name)}[/\\]", "", text)
        text = re.sub(
            rf"(?<![\w.\\-]){re.escape(name)}(?![\w\\-])", Path(name).name, text
        )
    return _FOLDERS.sub("", text)


def below_folder(text: str, folder: Path) -> str:
    """The text with paths in a folder written as they lie below it, itself as ``.``.

    Only whole paths count: a folder called ``in`` leaves "nothing" and "in a slice" as
    they are.

    Args:
        text: A message.
        folder: As messages write it.
    """
    name = str(folder)
    path = rf"(?<![\w./\\-]){re.escape(name)}"
    text = re.sub(rf"{path}/", "", text)
    may_be_a_word = name.isalpha() and name.islower()
    end = r"(?=:)" if may_be_a_word else r"(?![\w\\-]|\.\w)"
    return re.sub(path + end, ".", text)
