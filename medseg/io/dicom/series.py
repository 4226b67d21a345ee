"""Finding the volumes in a tree of files, by what the files say and not their names."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError, MissingFileError
from medseg.io.dicom.frame import DicomFile, Frame, Kind
from medseg.io.dicom.header import NOT_DICOM, read_dicom_file
from medseg.io.dicom.splitting import Part, identity_of, split_frames, without_copies
from medseg.progress import Progress, Silent

_PLAIN = re.compile(r"[A-Z]{2,8}")


@dataclass(frozen=True)
class Series:
    """One volume of a DICOM tree, or a series that is set aside with a reason."""

    attributes: dict[str, str]
    """Elements that name it, as text: Modality, SeriesDescription, …"""
    kind: Kind
    part: str
    """Which of several volumes of its series, such as ``"time03"``; else empty."""
    reason: str
    """Why it is set aside; empty where it can be read."""
    files: tuple[Path, ...]
    frames: tuple[Frame, ...]
    copies: tuple[Frame, ...] = ()
    """Frames of further files that hold an object of `frames` again."""

    @property
    def folder(self) -> Path:
        """The folder that holds its first file."""
        return self.files[0].parent

    def __str__(self) -> str:
        """Modality, number and part, for messages: no free text, no date."""
        modality = self.attributes["Modality"]
        number = self.attributes["SeriesNumber"]
        words = [
            modality if _PLAIN.fullmatch(modality) else "DICOM",
            f"series {number}" if number.isdigit() else "series",
            self.part,
            f"in {self.folder}",
        ]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Unreadable:
    """A file that is DICOM, or claims to be, and cannot be read."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SeriesTree:
    """Everything DICOM below a folder."""

    series: tuple[Series, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def volumes(self) -> tuple[Series, ...]:
        """The series that can be read as images."""
        return tuple(series for series in self.series if not series.reason)


def find_series(root: Path, *, progress: Progress | None = None) -> SeriesTree:
    """All volumes in a folder and the folders below, whatever the files are called.

    Args:
        root: A folder, or one file.
        progress: Told about each file.

    Raises:
        MissingFileError: There is no such folder or file.
    """
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    paths = sorted(files_below(root)) if root.is_dir() else [root]
    shown = progress or Silent()
    return series_of(
        shown.track(paths, label="reading DICOM headers", total=len(paths))
    )


def series_of(paths: Iterable[Path]) -> SeriesTree:
    """The volumes that some files hold; files that are no DICOM are passed over."""
    groups: dict[tuple[str, str, str, Kind, str], list[DicomFile]] = {}
    unreadable = []
    for path in paths:
        try:
            file = read_dicom_file(path)
        except InputError as error:
            if not str(error).endswith(NOT_DICOM):
                unreadable.append(Unreadable(path, str(error)))
            continue
        key = (
            file.attributes["StudyInstanceUID"],
            file.attributes["SeriesInstanceUID"],
            file.attributes["FrameOfReferenceUID"],
            file.kind,
            file.reason,
        )
        groups.setdefault(key, []).append(file)
    series = [part for files in groups.values() for part in _volumes(files)]
    series.sort(key=_reading_order)
    return SeriesTree(tuple(series), tuple(unreadable))


def files_below(root: Path) -> Iterator[Path]:
    """Regular files below a folder, hidden ones left out; links are not followed."""
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place) / name
            if not name.startswith(".") and path.is_file():
                yield path


def _volumes(files: list[DicomFile]) -> list[Series]:
    first = files[0]
    if first.reason:
        paths = tuple(file.path for file in files)
        return [Series(first.attributes, first.kind, "", first.reason, paths, ())]
    frames = [frame for file in files for frame in file.frames]
    distinct, copies = without_copies(frames)
    parts = split_frames(distinct)
    largest = max(len(part.frames) for part in parts)
    return [_series_of_part(first.attributes, part, largest, copies) for part in parts]


def _series_of_part(
    attributes: dict[str, str], part: Part, largest: int, copies: list[Frame]
) -> Series:
    own = {identity_of(frame) for frame in part.frames}
    again = tuple(frame for frame in copies if identity_of(frame) in own)
    return Series(
        attributes=attributes,
        kind=Kind.IMAGE,
        part=part.label,
        reason=_too_few(len(part.frames), largest),
        files=tuple(dict.fromkeys(frame.path for frame in (*part.frames, *again))),
        frames=part.frames,
        copies=again,
    )


def _too_few(count: int, largest: int) -> str:
    """Why a part that is small beside another of its series is set aside."""
    if count <= 2 and largest >= 5:
        return (
            f"{count} slices beside a volume of {largest} in its series (a localiser)"
        )
    return ""


def _reading_order(series: Series) -> tuple[str, float, str, str]:
    try:
        number = float(series.attributes["SeriesNumber"])
    except ValueError:
        number = float("inf")
    return (
        series.attributes["StudyInstanceUID"],
        number,
        series.attributes["SeriesInstanceUID"],
        series.part,
    )
