"""Cases that a user wants to look at: pages that are there, or scans with labels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import MissingFileError
from medseg.evaluation.folder import read_pair
from medseg.evaluation.pairs import CasePair, references_in
from medseg.files import real_path
from medseg.io import scan_stem
from medseg.labels import LabelScheme
from medseg.prediction.ensemble import plan_of_models
from medseg.progress import Progress
from medseg.reading import read_label_map, read_volume
from medseg.reporting.viewer.niivue import SCRIPT
from medseg.reporting.viewer.page import ViewedCase
from medseg.scoring.references import find_references
from medseg.volume import LabelMap

PAGES = "viewer"
"""Folder of pages, as `medseg evaluate`, `train` and `predict` write it."""
_DEEPEST = 5


@dataclass(frozen=True)
class CaseEntry:
    """One case of a list: its page, or how it is read."""

    name: str
    page: Path | None = None
    """Relative to the list's folder."""
    read: Callable[[], ViewedCase] | None = None


@dataclass(frozen=True)
class CaseList:
    """What is to be looked at."""

    title: str
    entries: tuple[CaseEntry, ...]
    folder: Path | None = None
    """Where pages lie; nothing outside is served."""
    reports: tuple[Path, ...] = ()
    """Reports in the folder, relative to it."""

    def served(self, address: str) -> Path | None:
        """The file of an address below the folder: pages, reports, their script."""
        if self.folder is None:
            return None
        path = real_path(self.folder / address)
        is_page = path.suffix == ".html" or path.name == SCRIPT
        inside = path.is_relative_to(real_path(self.folder))
        return path if is_page and inside and path.is_file() else None


def cases_in(folder: Path) -> CaseList:
    """The cases whose pages lie in a run, an output of predict or evaluate, or a study.

    Raises:
        MissingFileError: There is no such folder, or no page in it.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder; give a scan and its labels")
    found = [
        page.relative_to(folder)
        for depth in range(_DEEPEST)
        for page in sorted(folder.glob("*/" * depth + f"{PAGES}/*.html"))
    ]
    if not found:
        raise MissingFileError(
            f"{folder}: holds no page of a case; `medseg train`, `predict` and "
            "`evaluate` write them. For files: medseg view SCANS LABELS"
        )
    reports = [
        report.relative_to(folder)
        for depth in range(_DEEPEST)
        for report in sorted(folder.glob("*/" * depth + "report.html"))
    ]
    entries = tuple(CaseEntry(_named(page), page=page) for page in found)
    return CaseList(folder.resolve().name, entries, folder, tuple(reports))


def cases_of_files(
    scans: Path,
    labels: Path,
    *,
    reference: Path | None = None,
    model: Path | None = None,
    progress: Progress,
) -> CaseList:
    """Scans with their label maps, paired by name where they are folders.

    Args:
        scans: A scan, or a folder of scans.
        labels: Its label map, or a folder of label maps.
        reference: Label maps to compare with.
        model: Model or run that names the values; else what lies beside the labels.
        progress: Told where names come from.

    Raises:
        MissingFileError: There is no such file, or no scan has labels.
        InputError: The values cannot be named.
    """
    for path in filter(None, (scans, labels, reference)):
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder")
    known = None if model is None else plan_of_models(model)[0].labels
    found = find_references(labels, labels, scheme=known, progress=progress)
    entries = []
    for name, image, label in _paired(scans, labels):
        compared = None if reference is None else _beside(reference, name, label)
        read = _reader(name, image, label, compared, found.scheme)
        entries.append(CaseEntry(name, read=read))
    if not entries:
        raise MissingFileError(
            f"{scans}: no scan has the name of a label map in {labels}; expected "
            "equal names, such as scans/a.nii.gz and labels/a.nii.gz"
        )
    return CaseList(labels.resolve().name, tuple(entries))


def _named(page: Path) -> str:
    """The case of a page, with its folder where that says more."""
    around = page.parent.parent.as_posix()
    return page.stem if around in (".", "validation") else f"{around}: {page.stem}"


def _paired(scans: Path, labels: Path) -> list[tuple[str, Path, Path]]:
    if scans.is_file() and labels.is_file():
        return [(scan_stem(scans), scans, labels)]
    images, maps = references_in(scans), references_in(labels)
    pairs = []
    for name, label in maps.items():
        image = images.get(name) or images.get(f"{name}_0000")  # as nnU-Net names it
        if image is not None:
            pairs.append((name, image, label))
    return pairs


def _beside(reference: Path, name: str, label: Path) -> Path | None:
    """The reference of a case; None where it has none."""
    if reference.is_file():
        return reference
    found = references_in(reference)
    return found.get(name) or found.get(scan_stem(label))


def _reader(
    name: str, image: Path, label: Path, reference: Path | None, scheme: LabelScheme
) -> Callable[[], ViewedCase]:
    def read() -> ViewedCase:
        compared: LabelMap | None = None
        if reference is None:
            prediction = read_label_map(label, scheme=scheme)
        else:
            prediction, compared = read_pair(CasePair(name, label, reference), scheme)
        volume = read_volume([image]).turned_to(prediction.grid)
        return ViewedCase(
            name,
            volume,
            scheme,
            prediction,
            compared,
            called="labels" if compared is None else "prediction",
        )

    return read
