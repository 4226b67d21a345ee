"""Finds studies in a growing folder whose files have stopped changing."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.io.dicom.series import files_below
from medseg.io.formats import Format, format_or_none, scan_stem
from medseg.prediction.channel_files import split_channel
from medseg.reading import read_header

Unit = tuple[Hashable, ...]
"""What is complete together: a DICOM study, or the files of one case."""
Signature = tuple[int, int]
"""Size and time of change."""


_UNREADABLE = "unreadable"


@dataclass
class _File:
    signature: Signature
    since: float
    unit: Unit | None
    """None while its header cannot be read."""
    is_new: bool = True
    """Whether its present content was not handed out yet."""


class StableFiles:
    """Watches a tree and hands out studies once they have not changed for a while.

    Times of files are compared with each other only, never with this machine's clock,
    which may differ from a file server's. Files that go away make nothing new.

    Args:
        root: The tree.
        channels: Names of the model's channels, whose files belong together.
        settle: Seconds without a change after which a study is complete.
        out: Folder of results, which is not watched.
    """

    def __init__(
        self, root: Path, *, channels: Iterable[str], settle: float, out: Path
    ) -> None:
        self._root = root
        self._channels = tuple(channels)
        self._settle = settle
        self._results = _inside(root, out)
        self._files: dict[Path, _File] = {}

    def poll(self, now: float) -> list[list[Path]]:
        """The files of each study that is complete and new or changed.

        Args:
            now: Seconds on any clock that never goes back.
        """
        self._look(now)
        units: dict[Unit, list[Path]] = defaultdict(list)
        restless = set()
        for path, file in self._files.items():
            if file.unit is None:
                restless.add(path.parent)
            else:
                units[file.unit].append(path)
        ready = []
        for paths in units.values():
            files = [self._files[path] for path in paths]
            at_rest = all(now - file.since >= self._settle for file in files)
            calm = not any(path.parent in restless for path in paths)
            if at_rest and calm and any(file.is_new for file in files):
                ready.append(sorted(paths))
        for paths in ready:
            for path in paths:
                self._files[path].is_new = False
        # what is unreadable last: by then the names to keep out of its path are known
        return sorted(ready, key=lambda paths: (self._is_unreadable(paths[0]), paths))

    def again(self, paths: Iterable[Path], now: float) -> None:
        """Hands a study out once more, after another quiet period."""
        for path in paths:
            if path in self._files:
                self._files[path].is_new = True
                self._files[path].since = now

    def _look(self, now: float) -> None:
        """Brings what is known of the files up to date."""
        found = {}
        for path in files_below(self._root):
            signature = _signature(path)
            if signature is None or self._results in path.parents:
                continue
            file = self._files.get(path)
            if file is None or file.signature != signature:
                file = _File(signature, now, self._unit_of(path))
            elif file.unit is None:
                file.unit = self._unit_of(path)
                if file.unit is None and now - file.since >= self._settle:
                    file.unit = (_UNREADABLE, path)
            found[path] = file
        self._files = found

    def _is_unreadable(self, path: Path) -> bool:
        unit = self._files[path].unit
        return unit is not None and unit[0] == _UNREADABLE

    def _unit_of(self, path: Path) -> Unit | None:
        if format_or_none(path) in (None, Format.DICOM):
            study = _study_of(path)
            if study != "":
                return None if study is None else ("study", study)
            if format_or_none(path) is Format.DICOM:
                return None
        stem = scan_stem(path)
        if stem == path.name:  # such as the .raw beside an .mhd
            stem = path.stem
        head, _ = split_channel(stem, self._channels)
        return ("files", path.parent, head)


def _inside(root: Path, folder: Path) -> Path | None:
    """A folder as the walk through a root comes upon it; None where it does not."""
    try:
        return root / folder.resolve().relative_to(root.resolve())
    except ValueError:
        return None


def _signature(path: Path) -> Signature | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _study_of(path: Path) -> str | None:
    """StudyInstanceUID; empty where it is no DICOM, None where it cannot be told."""
    try:
        dataset, _ = read_header(path, wanted=["StudyInstanceUID"])
    except InputError as error:
        return "" if str(error).endswith("not a DICOM file") else None
    return str(dataset.get("StudyInstanceUID", "") or "unnamed")
