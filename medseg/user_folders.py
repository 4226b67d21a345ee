"""Folders of the user's own: settings and caches, also where there is no home.

A container's user may have no home folder, or one that cannot be written. What would
lie there then lies in a folder of the user's own below that of temporary files, which
is said once.
"""

import os
import tempfile
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

Kind = Literal["config", "cache"]


class HomelessWarning(UserWarning):
    """Nothing can be kept below the home folder."""


def user_folder(kind: Kind) -> Path:
    """A folder that this user can write to, made where it is missing.

    ``$XDG_CONFIG_HOME/medseg`` or ``$XDG_CACHE_HOME/medseg``, by default
    ``~/.config/medseg`` or ``~/.cache/medseg``; where that cannot be written, a folder
    below that of temporary files, which others cannot read.
    """
    folder = preferred_folder(kind)
    return folder if folder is not None and _is_usable(folder) else _fallback(kind)


def preferred_folder(kind: Kind) -> Path | None:
    """Where such files belong, writable or not; None where there is no home."""
    if base := os.environ.get(f"XDG_{kind.upper()}_HOME"):
        return Path(base) / "medseg"
    try:
        return Path.home() / f".{kind}" / "medseg"
    except RuntimeError:  # neither HOME nor an entry in passwd
        return None


def _is_usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@lru_cache
def _fallback(kind: Kind) -> Path:
    """Keeps to the same folder from call to call where nobody else can have made it."""
    owner = str(os.getuid()) if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"medseg-{owner}"
    with suppress(OSError):
        folder.mkdir(exist_ok=True, mode=0o700)
    if not _is_own(folder):
        folder = Path(tempfile.mkdtemp(prefix="medseg-"))
    place = folder / kind
    place.mkdir(exist_ok=True, mode=0o700)
    what = {"config": "the key of the pseudonyms", "cache": "what is cached"}[kind]
    warnings.warn(
        f"no home folder that can be written; {what} lies in {place}",
        HomelessWarning,
        stacklevel=3,
    )
    return place


def _is_own(folder: Path) -> bool:
    """Whether a folder is this user's and nobody else's; a link is not."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return folder.is_dir()
    private = state.st_uid == os.getuid() and not state.st_mode & 0o077
    return folder.is_dir() and not folder.is_symlink() and private
