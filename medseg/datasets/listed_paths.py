"""Paths as people write them in tables and JSON lists, made paths of this machine.

Blanks at the ends do not count. Where there is no such file, backslashes are taken as
Windows' separators, a missing format suffix is found, and a path of another machine is
looked for under the list's own folder by its last parts.
"""

from collections.abc import Iterator
from pathlib import Path

from medseg.progress import Progress

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".tif", ".tiff")


class ListedPaths:
    """The files that a list names, relative to a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._moved: list[tuple[str, Path]] = []

    def path(self, text: str) -> Path:
        """The file that a text names; as written where there is none."""
        plain = self._root / text.strip()
        if plain.exists():
            return plain
        found = next(filter(Path.exists, self._candidates(text.strip())), None)
        if found is None:
            return plain
        self._moved.append((text, found))
        return found

    def say(self, source: Path, progress: Progress) -> None:
        """Warns once that files were found elsewhere than listed."""
        if self._moved:
            text, found = self._moved[0]
            progress.warn(
                f"{source}: {len(self._moved)} files are not where it lists them; "
                f"{text.strip()} is taken as {found}, the others likewise"
            )

    def _candidates(self, text: str) -> Iterator[Path]:
        posix = Path(text.replace("\\", "/"))
        parts = [part for part in posix.parts if part not in ("/", ".", "..")]
        for start in range(len(parts)):
            below = self._root.joinpath(*parts[start:])
            yield below
            yield from (below.with_name(below.name + suffix) for suffix in _SUFFIXES)
