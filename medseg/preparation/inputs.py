"""Which files a store was made from, told by content; size and time spare reading."""

import json
from pathlib import Path

from medseg.datasets import Case
from medseg.errors import MissingFileError, UnreadableFileError
from medseg.files import hash_file, hash_text, write_text
from medseg.io.bytestream import require_regular
from medseg.io.detached import files_of

Signature = tuple[int, int, int, str]
"""Bytes, times of last change of content and of entry in ns, SHA-256 of the content."""


class FileHashes:
    """SHA-256 of files; one whose size and time are unchanged is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._used: dict[str, Signature] = {}

    def of(self, path: Path) -> str:
        """Hash of a file, with those its header refers to, or of all in a folder.

        Raises:
            MissingFileError: There is no such file.
            UnreadableFileError: It may not be read.
        """
        if path.is_dir():
            parts = sorted(part for part in path.rglob("*") if part.is_file())
            return hash_text(
                "\n".join(f"{part.name}\t{self.of(part)}" for part in parts)
            )
        first, *others = files_of(path)
        if others:
            return hash_text("\n".join(map(self._of_file, (first, *others))))
        return self._of_file(path)

    def _of_file(self, path: Path) -> str:
        try:
            state = path.stat()
            signature = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            known = self._known.get(str(path))
            if known and known[:3] == signature:
                digest = known[3]
            else:
                require_regular(path, state)
                digest = hash_file(path)
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such file") from error
        except OSError as error:
            raise UnreadableFileError(
                f"{path}: cannot be read: {error.strerror}"
            ) from error
        self._used[str(path)] = (*signature, digest)
        return digest

    def of_case(self, case: Case) -> str:
        """One hash for all files of a case.

        Raises:
            InputError: A file is missing or may not be read.
        """
        files = [*case.images, *([case.label] if case.label else [])]
        return hash_text("\n".join(self.of(path) for path in files))

    def save(self) -> None:
        """Writes the hashes of the files that were asked for.

        Raises:
            OutputError: They cannot be written.
        """
        if self._used != self._known:
            write_text(self._path, json.dumps(self._used))


def _read(path: Path) -> dict[str, Signature]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: (int(size), int(time), int(changed), str(digest))
            for name, (size, time, changed, digest) in values.items()
        }
    except (OSError, ValueError, AttributeError):
        return {}
