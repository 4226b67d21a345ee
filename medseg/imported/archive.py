"""Zips that hold a trained model, unpacked without following their names anywhere."""

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from medseg.errors import ModelError

_MOST_BYTES = 64 << 30
"""Unpacked from a zip."""
_MOST_FILES = 10_000


def names_in(path: Path) -> list[str]:
    """The names in a zip; none where it cannot be read, or is no zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return []


def unpack(path: Path, place: Path, *, wanted: Callable[[PurePosixPath], bool]) -> None:
    """The files of a zip that a model needs, below a folder.

    Args:
        path: The zip.
        place: The folder.
        wanted: Whether a file of this name is needed.

    Raises:
        ModelError: The zip is damaged, too large, or a name leads out of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            for entry in entries:
                _require_inside(entry, path)
            chosen = [e for e in entries if wanted(PurePosixPath(e.filename))]
            if (
                len(entries) > _MOST_FILES
                or sum(entry.file_size for entry in chosen) > _MOST_BYTES
            ):
                raise ModelError(f"{path}: {len(entries)} files, or too large; refused")
            for entry in chosen:
                archive.extract(entry, place)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: the zip cannot be read: {error}") from error


def _require_inside(entry: zipfile.ZipInfo, path: Path) -> None:
    """Refuses names that lead out of the folder, and links.

    Raises:
        ModelError: It is one of these.
    """
    name = entry.filename
    parts = PurePosixPath(name.replace("\\", "/"))
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if parts.is_absolute() or ".." in parts.parts or ":" in name or is_link:
        raise ModelError(
            f"{path}: the name {name!r:.120} leads out of the archive; refused, "
            "nothing was unpacked"
        )
