"""Whether files are those that a list of SHA-256 sums knows."""

from collections.abc import Iterator
from pathlib import Path

from medseg.datasets.finding import Finding
from medseg.errors import UnreadableFileError
from medseg.files import hash_file

_HASH_LENGTH = 64


def check_sums(sums: Path, root: Path) -> Iterator[Finding]:
    """A finding for each file below a root that is missing or another.

    Args:
        sums: Lines of a hash, two spaces and a path, as ``sha256sum`` writes them.
        root: Folder that the paths are relative to.

    Raises:
        UnreadableFileError: It is no list of sums.
    """
    for name, expected in read_sums(sums).items():
        path = root / name
        if not path.is_file():
            message = f"listed in {sums.name}, not there"
        elif hash_file(path) != expected:
            message = f"other bytes than {sums.name} lists"
        else:
            continue
        yield Finding(
            "",
            path,
            "checksum",
            message,
            "get the file again from the data set's source, or correct the list",
            "warning",
        )


def read_sums(path: Path) -> dict[str, str]:
    """Hash by relative path.

    Raises:
        UnreadableFileError: A line is not a hash and a path.
    """
    sums = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path}: not a list of sums: {error}") from error
    for number, line in enumerate(lines, start=1):
        value, _, name = line.partition(" ")
        name = name.lstrip(" *")
        if len(value) != _HASH_LENGTH or not name:
            raise UnreadableFileError(
                f"{path}, line {number}: expected a SHA-256 sum and a path"
            )
        sums[name] = value
    return sums
