"""Every scan in a tree that mixes NIfTI, NRRD, pictures, DICOM studies and rubbish."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import GeometryError, MissingFileError
from medseg.io.detached import files_of
from medseg.io.dicom.frame import Correction, Kind
from medseg.io.dicom.scan import read_series
from medseg.io.dicom.series import (
    HeaderReader,
    Series,
    SeriesTree,
    files_below,
    series_of,
)
from medseg.io.dicom.series_selection import SeriesRule
from medseg.io.formats import Format, format_or_none, is_scan, scan_stem
from medseg.io.identity import Pseudonymizer
from medseg.io.reading import read_volume
from medseg.io.special_files import linked_folders, special_files
from medseg.io.straight import straightened
from medseg.progress import Progress, Silent
from medseg.volume import Volume

LABEL_KINDS = (Kind.SEGMENTATION, Kind.STRUCTURES)


@dataclass(frozen=True)
class ScanSource:
    """One scan in a tree, or something that claims to be one and is not usable.

    Attributes:
        root: The tree that it was found in.
        files: The files that it consists of.
        name: What its results are called: a pseudonym for DICOM, else the file's
            name.
        series: For DICOM, the series; None for other formats.
        reason: Why it is no scan to process; empty where it can be read.
        is_fault: Whether the reason is damage, and not merely another kind of object.
    """

    root: Path
    files: tuple[Path, ...]
    name: str
    series: Series | None = None
    reason: str = ""
    is_fault: bool = False

    @property
    def is_labels(self) -> bool:
        """Whether it is a segmentation or a structure set, not an image."""
        return self.series is not None and self.series.kind in LABEL_KINDS

    @property
    def shown(self) -> str:
        """Where it lies in the tree, with the parts of its path as they are."""
        path = self.files[0] if self.series is None else self.files[0].parent
        return path.relative_to(self.root).as_posix() if path != self.root else "."

    def content_hash(self) -> str:
        """SHA-256 of the bytes of all its files, in the order of their names.

        Files that a header refers to count as well.
        """
        digest = hashlib.sha256()
        files = sorted(self.files)
        if self.series is None:
            files = [file for path in files for file in files_of(path)]
        for path in files:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True)
class LoadedScan:
    """A volume on a straight, even grid, and what was done to make it so."""

    volume: Volume
    corrections: tuple[Correction, ...] = ()


def find_sources(
    root: Path,
    *,
    names: Pseudonymizer,
    rule: SeriesRule | None = None,
    progress: Progress | None = None,
    headers: HeaderReader | None = None,
) -> list[ScanSource]:
    """All scans below a folder (or one file), and what was set aside, with reasons.

    Args:
        root: A folder of anything, or one file.
        names: Gives DICOM scans their names.
        rule: Which DICOM series are wanted; the others are set aside, named.
        progress: Told about each file.
        headers: Reads DICOM headers.

    Raises:
        MissingFileError: There is no such folder or file.
    """
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    base = root if root.is_dir() else root.parent
    paths = sorted(files_below(root)) if root.is_dir() else [root]
    sources = sources_of(
        paths, base, names=names, rule=rule, progress=progress, headers=headers
    )
    if root.is_dir():
        _say_links(root, progress or Silent())
        sources += [
            _fault(path, f"{path}: {reason}", base, names)
            for path, reason in special_files(root)
        ]
    return sources


def _say_links(root: Path, progress: Progress) -> None:
    """Warns of scans that are not looked at because they lie behind links."""
    links = linked_folders(root)
    if links:
        shown = ", ".join(one.relative_to(root).as_posix() for one in links[:5])
        more = f" and {len(links) - 5} more" if len(links) > 5 else ""
        progress.warn(
            f"links to folders elsewhere are not followed: {shown}{more}; name these "
            "folders themselves to read what is in them"
        )


def sources_of(
    paths: Sequence[Path],
    base: Path,
    *,
    names: Pseudonymizer,
    rule: SeriesRule | None = None,
    progress: Progress | None = None,
    headers: HeaderReader | None = None,
) -> list[ScanSource]:
    """The scans that some files of a tree hold, as `find_sources` gives them.

    Args:
        paths: Files below the tree's root.
        base: The root.
        names: Gives DICOM scans their names.
        rule: Which DICOM series are wanted; the others are set aside, named.
        progress: Told about each file.
        headers: Reads DICOM headers.
    """
    plain = [path for path in paths if _is_plain_scan(path)]
    others = sorted(set(paths) - set(plain))
    shown = progress or Silent()
    tree = series_of(
        shown.track(others, label="looking for scans", total=len(others)),
        headers=headers,
    )
    sources = [ScanSource(base, (path,), name) for path, name in _stems(plain, base)]
    return sources + _dicom_sources(tree, base, names, rule or SeriesRule())


def load_source(source: ScanSource, *, strict: bool = False) -> LoadedScan:
    """The scan on a straight, even grid.

    Args:
        source: As `find_sources` gives it.
        strict: Whether a scan that needs repair is refused instead.

    Raises:
        InputError: It cannot be read, or needs repair and `strict` is set.
    """
    if source.series is not None:
        scan = read_series(source.series, strict=strict)
        return LoadedScan(scan.volume, scan.corrections)
    volume = read_volume(source.files[0], allow_shear=not strict)
    return straight_scan(volume, name=str(source.files[0]))


def straight_scan(volume: Volume, *, name: str) -> LoadedScan:
    """A volume on a straight grid: itself, unless its axes lean.

    Raises:
        GeometryError: The straight grid would be too large.
    """
    if not _is_sheared(volume):
        return LoadedScan(volume)
    try:
        straight = straightened(volume)
    except GeometryError as error:
        raise GeometryError(f"{name}: {error}") from error
    text = "a sheared grid was resampled onto a straight one"
    return LoadedScan(straight, (Correction("tilt", text, is_repair=True),))


def _is_plain_scan(path: Path) -> bool:
    return format_or_none(path) not in (None, Format.DICOM) and is_scan(path)


def _is_sheared(volume: Volume) -> bool:
    from medseg.io.geometry_warning import settle_affine

    try:
        settle_affine(volume.affine, source=Path())
    except GeometryError:
        return True
    return False


def _stems(paths: list[Path], base: Path) -> list[tuple[Path, str]]:
    """A distinct name for each file: the shortest of stem, path's stem and path."""
    candidates = [
        (
            scan_stem(path),
            "__".join((*folders, scan_stem(path))),
            "__".join((*folders, path.name)),
        )
        for path in paths
        for folders in [path.relative_to(base).parts[:-1]]
    ]
    counts = [Counter(names) for names in zip(*candidates, strict=True)]
    return [
        (
            path,
            next(
                (n for n, c in zip(names, counts, strict=True) if c[n] == 1), names[2]
            ),
        )
        for path, names in zip(paths, candidates, strict=True)
    ]


def _dicom_sources(
    tree: SeriesTree, base: Path, names: Pseudonymizer, rule: SeriesRule
) -> list[ScanSource]:
    sources = []
    for series in tree.series:
        reason = series.reason
        if not reason and not rule.chooses(series):
            reason = "not chosen by the series rule"
        name = dicom_name(series, names)
        sources.append(ScanSource(base, series.files, name, series, reason))
    sources += [_fault(f.path, f.reason, base, names) for f in tree.unreadable]
    return sources


def _fault(path: Path, reason: str, base: Path, names: Pseudonymizer) -> ScanSource:
    """A file that cannot be used, under a name that gives nothing away."""
    name = names.name(path.relative_to(base).as_posix())
    return ScanSource(base, (path,), f"file_{name}", None, reason, is_fault=True)


def dicom_name(series: Series, names: Pseudonymizer) -> str:
    """What results of a series are called: modality, pseudonym, part."""
    modality = series.attributes["Modality"].lower()
    modality = modality if modality.isascii() and modality.isalpha() else "dicom"
    uid = series.attributes["SeriesInstanceUID"] or str(series.files[0])
    return "_".join(filter(None, [modality[:8], names.name(uid), series.part]))
