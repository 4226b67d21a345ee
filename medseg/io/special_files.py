"""Entries of a tree that bear the name of a scan and are none, and links to folders."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from medseg.io.formats import suffix_of

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def special_files(root: Path) -> list[tuple[Path, str]]:
    """What is called like a scan below a folder and cannot be read, with the reason.

    Dangling and circular links, FIFOs, sockets and devices, sorted; hidden ones are
    left out.
    """
    return sorted(_special_below(root))


def linked_folders(root: Path) -> list[Path]:
    """Links below a folder that lead to folders outside of it, sorted.

    They are not followed: a link may lead anywhere, or back to where it came from.
    """
    inside = root.resolve()
    found = []
    for place, folders, _ in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            path = Path(place) / name
            if path.is_symlink() and not _lies_in(path, inside):
                found.append(path)
    return sorted(found)


def why_special(path: Path) -> str:
    """Why an entry is no file; empty for files and folders."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to a file that is not there" if path.is_symlink() else ""
    except (OSError, RuntimeError) as error:
        return f"cannot be reached: {getattr(error, 'strerror', None) or error}"
    kind = _KINDS.get(stat.S_IFMT(mode), "")
    if kind and path.is_symlink():
        return f"a link to {kind}, expected a file"
    return f"{kind}, expected a file" if kind else ""


def _special_below(root: Path) -> Iterator[tuple[Path, str]]:
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place) / name
            if name.startswith(".") or not suffix_of(path):
                continue
            if reason := why_special(path):
                yield path, reason


def _lies_in(path: Path, folder: Path) -> bool:
    try:
        found = path.resolve()
    except (OSError, RuntimeError):
        return True
    return found == folder or folder in found.parents
