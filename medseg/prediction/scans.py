"""Which files make up each scan of a tree, and what its result is called."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.errors import InputError
from medseg.files import real_path
from medseg.io.formats import Format, format_or_none
from medseg.io.identity import Pseudonymizer, identifiers_of
from medseg.io.sources import ScanSource
from medseg.plain_text import one_line, safe_name
from medseg.plan import ChannelPlan
from medseg.prediction.channel_files import group_files
from medseg.prediction.channel_series import scans_of_series
from medseg.prediction.scan import Scan
from medseg.prediction.series_rules import SeriesRules
from medseg.progress import Progress
from medseg.reading import find_sources, sources_of


@dataclass(frozen=True)
class Collector:
    """Finds scans for a model.

    Attributes:
        channels: The model's channels, in order.
        names: Gives DICOM scans their names.
        rules: Which DICOM series are wanted, and for which channel.
        out: Folder of results, which are no scans; None where there is none.
    """

    channels: tuple[ChannelPlan, ...]
    names: Pseudonymizer
    rules: SeriesRules
    out: Path | None
    _identifiers: set[str] = field(default_factory=set, repr=False)
    """Parts of all patients' names met so far, to keep out of messages."""

    def collect(self, path: Path, *, progress: Progress | None = None) -> list[Scan]:
        """The scans at or below a path, sorted by name.

        One file is one scan. Where the model wants several channels, files named like
        ``case_0000``, ``case_0001`` or ``case_flair``, ``case_t1`` belong together; a
        file that holds all channels needs no such name. Results are called after the
        folders and the stem, those of DICOM series by a pseudonym.

        Args:
            path: A scan, or a folder of anything.
            progress: Told about each file.

        Raises:
            MissingFileError: There is no such path.
            InputError: There is nothing that could be a scan.
        """
        sources = find_sources(path, names=self.names, progress=progress)
        scans = self._scans(sources) + self._closed_folders(path)
        if not scans:
            raise InputError(
                f"{path}: no scan found; expected NIfTI, NRRD, MetaImage, PNG or TIFF "
                "files, or DICOM files, with or without suffix"
            )
        return scans

    def collect_files(self, paths: Sequence[Path], root: Path) -> list[Scan]:
        """The scans that some files of a tree make up; none where they hold none."""
        return self._scans(sources_of(sorted(paths), root, names=self.names))

    def _scans(self, sources: Sequence[ScanSource]) -> list[Scan]:
        """All scans that the sources hold, each with a name of its own."""
        own = list(sources)
        if self.out is not None:
            out = self.out.resolve()
            own = [s for s in own if out not in real_path(s.files[0]).parents]
        found = [source for source in own if not _is_rubbish(source, own)]
        plain = [s for s in found if s.series is None and not s.is_fault]
        series = [s for s in found if s.series is not None]
        scans = group_files(plain, self.channels)
        scans += scans_of_series(series, self.channels, self.rules, self.names)
        scans += [_fault(source) for source in found if source.is_fault]
        headers = [s.series.attributes for s in series if s.series]
        self._identifiers.update(identifiers_of(headers))
        known = frozenset(self._identifiers)
        shown = [_without_identity(scan, known) for scan in scans]
        return sorted(_told_apart(shown), key=lambda scan: scan.name)

    def _closed_folders(self, path: Path) -> list[Scan]:
        """A failed line for each folder that may not be entered."""
        errors: list[OSError] = []
        for _ in os.walk(path, onerror=errors.append) if path.is_dir() else ():
            pass
        scans = []
        for error in errors:
            place = Path(str(error.filename))
            shown = place.relative_to(path).as_posix() if place != path else "."
            reason = f"{shown}: the folder cannot be listed: {error.strerror}"
            name = safe_name(f"folder_{self.names.name(shown)}")
            scans.append(Scan(name, (), shown, reason=reason, is_fault=True))
        return scans


def _is_rubbish(source: ScanSource, others: Sequence[ScanSource]) -> bool:
    """Whether an unreadable file is empty and nothing says that it was a scan."""
    path = source.files[0]
    if not source.is_fault or format_or_none(path) is Format.DICOM:
        return False
    if not path.is_file():  # a FIFO, a device or a link to nowhere
        return False
    try:
        if path.stat().st_size:
            return False
    except OSError:
        return False
    return not any(
        other.series is not None and other.files[0].parent == path.parent
        for other in others
    )


def _fault(source: ScanSource) -> Scan:
    return Scan(
        source.name, (source,), source.shown, reason=source.reason, is_fault=True
    )


def _without_identity(scan: Scan, identifiers: frozenset[str]) -> Scan:
    """The scan with nothing in its texts that names a patient or a day."""
    if not scan.is_dicom:
        return replace(scan, name=safe_name(scan.name), shown=one_line(scan.shown))
    return replace(
        scan,
        shown=scan.cleaned(scan.shown, identifiers),
        reason=scan.cleaned(scan.reason, identifiers),
        identifiers=identifiers,
    )


def _told_apart(scans: Sequence[Scan]) -> list[Scan]:
    """Scans of equal name get eight digits of their place's hash behind it."""
    count = Counter(scan.name.casefold() for scan in scans)
    return [
        scan
        if count[scan.name.casefold()] == 1
        else replace(scan, name=f"{scan.name}_{_place_hash(scan)}")
        for scan in scans
    ]


def _place_hash(scan: Scan) -> str:
    places = [
        str(file.relative_to(source.root))
        for source in scan.sources
        for file in source.files
    ]
    text = "\n".join([scan.shown, *places])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
