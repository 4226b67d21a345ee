"""Finding the volumes in a tree of files, by what the files say and not their names."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from medseg.errors import InputError, MissingFileError
from medseg.io.dicom.frame import (
    CAPTURE,
    Correction,
    DicomFile,
    Frame,
    Kind,
    is_capture,
)
from medseg.io.dicom.header import NOT_DICOM, read_dicom_file
from medseg.io.dicom.splitting import Part, identity_of, split_frames, without_copies
from medseg.io.dicom.stack import thickness_of
from medseg.progress import Progress, Silent

_FEWEST_CAPTURES = 3
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


HeaderReader: TypeAlias = Callable[[Iterable[Path]], Iterable[DicomFile | Unreadable]]
"""Headers of some files, in their order; `read_headers`, or one with guards."""


@dataclass(frozen=True)
class SeriesTree:
    """Everything DICOM below a folder."""

    series: tuple[Series, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def volumes(self) -> tuple[Series, ...]:
        """The series that can be read as images."""
        return tuple(series for series in self.series if not series.reason)


def find_series(
    root: Path,
    *,
    progress: Progress | None = None,
    headers: HeaderReader | None = None,
) -> SeriesTree:
    """All volumes in a folder and the folders below, whatever the files are called.

    Args:
        root: A folder, or one file.
        progress: Told about each file.
        headers: Reads the headers.

    Raises:
        MissingFileError: There is no such folder or file.
    """
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    paths = sorted(files_below(root)) if root.is_dir() else [root]
    shown = progress or Silent()
    return series_of(
        shown.track(paths, label="reading DICOM headers", total=len(paths)),
        headers=headers,
    )


def read_headers(paths: Iterable[Path]) -> Iterator[DicomFile | Unreadable]:
    """What each file is, or why it cannot be read; what is no DICOM is passed over."""
    for path in paths:
        try:
            yield read_dicom_file(path)
        except InputError as error:
            if not str(error).endswith(NOT_DICOM):
                yield Unreadable(path, str(error))


def series_of(
    paths: Iterable[Path], *, headers: HeaderReader | None = None
) -> SeriesTree:
    """The volumes that some files hold; files that are no DICOM are passed over."""
    groups: dict[tuple[object, ...], list[DicomFile]] = {}
    unreadable = []
    for file in (headers or read_headers)(paths):
        if isinstance(file, Unreadable):
            unreadable.append(file)
            continue
        groups.setdefault(_series_key(file), []).append(file)
    series = [
        part
        for files in groups.values()
        for own, label in _by_patient(files)
        for part in _volumes(own, label)
    ]
    series.sort(key=_reading_order)
    return SeriesTree(tuple(series), tuple(unreadable))


def _series_key(file: DicomFile) -> tuple[object, ...]:
    """A key that is equal for files of one series and one kind.

    Without a SeriesInstanceUID, folder and SeriesNumber stand for it.
    """
    said = file.attributes
    stand_in = (file.path.parent, said["SeriesNumber"])
    return (
        said["StudyInstanceUID"],
        said["SeriesInstanceUID"],
        said["FrameOfReferenceUID"],
        file.kind,
        file.reason,
        is_capture(said),
        *(() if said["SeriesInstanceUID"] else stand_in),
    )


def _by_patient(files: list[DicomFile]) -> list[tuple[list[DicomFile], str]]:
    """Files of each patient, and what tells them apart where they are several.

    Files that name no patient belong to the only one that others name.
    """
    groups: dict[tuple[str, str], list[DicomFile]] = {}
    for file in files:
        groups.setdefault(_patient_of(file), []).append(file)
    unnamed = groups.get(("", ""), [])
    if unnamed and len(groups) == 2:
        (group,) = (own for patient, own in groups.items() if any(patient))
        return [([*group, *unnamed], "")]
    if len(groups) == 1:
        return [(files, "")]
    return [
        (group, f"patient{number:02d}")
        for number, group in enumerate(groups.values(), start=1)
    ]


def _patient_of(file: DicomFile) -> tuple[str, str]:
    """Number and name, whatever their case and spaces."""
    number, name = (file.attributes[key] for key in ("PatientID", "PatientName"))
    return (number.strip().casefold(), " ".join(name.casefold().strip(" ^").split()))


def files_below(root: Path) -> Iterator[Path]:
    """Regular files below a folder, hidden ones left out; links are not followed."""
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place) / name
            if not name.startswith(".") and path.is_file():
                yield path


def _volumes(files: list[DicomFile], patient: str) -> list[Series]:
    first = files[0]
    if first.reason:
        paths = tuple(file.path for file in files)
        return [Series(first.attributes, first.kind, patient, first.reason, paths, ())]
    frames = [frame for file in files for frame in file.frames]
    for remark in _identity_remarks(first, patient):
        frames = [frame.noting(remark) for frame in frames]
    distinct, copies = without_copies(frames)
    parts = split_frames(
        distinct,
        modality=first.attributes["Modality"],
        thickness=thickness_of(first.attributes) or 0.0,
    )
    largest = max(len(part.frames) for part in parts)
    return [
        _series_of_part(first.attributes, part, largest, copies, patient)
        for part in parts
    ]


def _identity_remarks(file: DicomFile, patient: str) -> Iterator[Correction]:
    """What had to stand in for identifiers that are blank or wrong."""
    if patient:
        text = "its series holds slices of several patients, which are kept apart"
        yield Correction("patients", text, is_repair=True)
    if not file.attributes["SeriesInstanceUID"]:
        text = "no SeriesInstanceUID: folder and SeriesNumber stand for it"
        yield Correction("series", text, is_repair=True)


def _series_of_part(
    attributes: dict[str, str],
    part: Part,
    largest: int,
    copies: list[Frame],
    patient: str,
) -> Series:
    own = {identity_of(frame) for frame in part.frames}
    again = tuple(frame for frame in copies if identity_of(frame) in own)
    return Series(
        attributes=attributes,
        kind=Kind.IMAGE,
        part="-".join(filter(None, [patient, part.label])),
        reason=_no_stack(attributes, part) or _too_few(len(part.frames), largest),
        files=tuple(dict.fromkeys(frame.path for frame in (*part.frames, *again))),
        frames=part.frames,
        copies=again,
    )


def _no_stack(attributes: dict[str, str], part: Part) -> str:
    """Why secondary captures that say where they lie are no volume nevertheless."""
    is_stack = len(part.frames) >= _FEWEST_CAPTURES
    return CAPTURE if is_capture(attributes) and not is_stack else ""


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
