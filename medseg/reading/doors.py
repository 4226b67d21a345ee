"""The readers of `medseg.io`, each called in a reader process with limits.

Every verb reads what others have written through these. What they return and raise is
what the reader of the same name in `medseg.io` does.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from medseg.errors import UnreadableFileError
from medseg.geometry import Grid
from medseg.io import label_reading, reading
from medseg.io.detached import files_of
from medseg.io.dicom import series as dicom_series
from medseg.io.dicom.elements import DicomDataset
from medseg.io.dicom.frame import DicomFile, Kind
from medseg.io.dicom.header import read_header as read_header_here
from medseg.io.dicom.label_objects import labels as dicom_labels
from medseg.io.dicom.label_objects.labels import ImageLabels
from medseg.io.dicom.label_objects.references import LabelledImage
from medseg.io.dicom.label_objects.structure_choice import StructureChoice
from medseg.io.dicom.series import SeriesTree, Unreadable
from medseg.io.dicom.series_selection import SeriesRule
from medseg.io.identity import Pseudonymizer
from medseg.io.sources import LoadedScan, ScanSource
from medseg.io.sources import find_sources as find_sources_here
from medseg.io.sources import load_source as load_source_here
from medseg.io.sources import sources_of as sources_of_here
from medseg.labels import LabelScheme
from medseg.progress import Progress
from medseg.reading.pool import guarded
from medseg.volume import LabelMap, Volume

_HEADERS = 32
"""Read by one call; where it ends its reader, each of them is tried alone."""
_HEADERS_SECONDS, _HEADER_SECONDS = 30.0, 15.0


def read_volume(source: Path | Sequence[Path], *, allow_shear: bool = False) -> Volume:
    """See `medseg.io.read_volume`."""
    paths = [source] if isinstance(source, Path) else list(source)
    files = _files(paths)
    return guarded(_volume, source, allow_shear, files=files, shown=_first(paths))


def read_label_map(
    path: Path,
    *,
    scheme: LabelScheme | None = None,
    grid: Grid | None = None,
    allow_shear: bool = False,
) -> LabelMap:
    """See `medseg.io.read_label_map`."""
    return guarded(
        _label_map,
        path,
        scheme,
        grid,
        allow_shear,
        files=_files([path]),
        shown=str(path),
    )


def read_named_labels(
    path: Path, *, scheme: LabelScheme | None = None, allow_shear: bool = False
) -> label_reading.NamedLabels:
    """See `medseg.io.label_reading.read_named_labels`."""
    return guarded(
        _named_labels,
        path,
        scheme,
        allow_shear,
        files=_files([path]),
        shown=str(path),
    )


def listed_structures(path: Path) -> tuple[str, ...]:
    """See `medseg.io.label_reading.listed_structures`."""
    if not label_reading.may_list_structures(path):
        return ()
    return guarded(label_reading.listed_structures, path, files=[path])


def read_grid(path: Path, *, allow_shear: bool = False) -> Grid:
    """See `medseg.io.read_grid`."""
    return guarded(_grid, path, allow_shear, files=_files([path]), shown=str(path))


def load_source(source: ScanSource, *, strict: bool = False) -> LoadedScan:
    """See `medseg.io.sources.load_source`."""
    shown = str(source.series) if source.series is not None else ""
    return guarded(_loaded, source, strict, files=_files(source.files), shown=shown)


def find_sources(
    root: Path,
    *,
    names: Pseudonymizer,
    rule: SeriesRule | None = None,
    progress: Progress | None = None,
) -> list[ScanSource]:
    """See `medseg.io.sources.find_sources`."""
    return find_sources_here(
        root, names=names, rule=rule, progress=progress, headers=read_headers
    )


def sources_of(
    paths: Sequence[Path],
    base: Path,
    *,
    names: Pseudonymizer,
    rule: SeriesRule | None = None,
    progress: Progress | None = None,
) -> list[ScanSource]:
    """See `medseg.io.sources.sources_of`."""
    return sources_of_here(
        paths, base, names=names, rule=rule, progress=progress, headers=read_headers
    )


def find_series(root: Path, *, progress: Progress | None = None) -> SeriesTree:
    """See `medseg.io.dicom.find_series`."""
    return dicom_series.find_series(root, progress=progress, headers=read_headers)


def read_header(
    path: Path, *, wanted: Sequence[Any] | None = None
) -> tuple[DicomDataset, int]:
    """See `medseg.io.dicom.header.read_header`."""
    return guarded(_header, path, wanted, files=[path])


def names_in(path: Path, kind: Kind) -> tuple[str, ...]:
    """See `medseg.io.dicom.label_objects.labels.names_in`."""
    return guarded(dicom_labels.names_in, path, kind, files=[path])


def read_labels(
    path: Path,
    kind: Kind,
    images: Sequence[LabelledImage],
    choice: StructureChoice,
) -> ImageLabels:
    """See `medseg.io.dicom.label_objects.labels.read_labels`."""
    return guarded(dicom_labels.read_labels, path, kind, images, choice, files=[path])


def read_headers(paths: Iterable[Path]) -> Iterator[DicomFile | Unreadable]:
    """See `medseg.io.dicom.series.read_headers`; some files at a time."""
    remaining = iter(paths)
    while some := list(islice(remaining, _HEADERS)):
        try:
            yield from guarded(_headers, some, files=some, seconds=_HEADERS_SECONDS)
        except UnreadableFileError:
            for path in some:
                yield from _one_header(path)


def _one_header(path: Path) -> Iterable[DicomFile | Unreadable]:
    try:
        return guarded(_headers, [path], files=[path], seconds=_HEADER_SECONDS)
    except UnreadableFileError as error:
        return [Unreadable(path, str(error))]


def _files(paths: Sequence[Path]) -> list[Path]:
    """All files that reading these opens, as far as their headers say."""
    return [file for path in paths for file in files_of(path)]


def _first(paths: Sequence[Path]) -> str:
    return str(paths[0]) if paths else ""


# What readers call; top-level functions with plain arguments.


def _volume(source: Path | Sequence[Path], allow_shear: bool) -> Volume:  # noqa: FBT001
    return reading.read_volume(source, allow_shear=allow_shear)


def _label_map(
    path: Path,
    scheme: LabelScheme | None,
    grid: Grid | None,
    allow_shear: bool,  # noqa: FBT001
) -> LabelMap:
    return label_reading.read_label_map(
        path, scheme=scheme, grid=grid, allow_shear=allow_shear
    )


def _named_labels(
    path: Path,
    scheme: LabelScheme | None,
    allow_shear: bool,  # noqa: FBT001
) -> label_reading.NamedLabels:
    return label_reading.read_named_labels(path, scheme=scheme, allow_shear=allow_shear)


def _grid(path: Path, allow_shear: bool) -> Grid:  # noqa: FBT001
    return reading.read_grid(path, allow_shear=allow_shear)


def _loaded(source: ScanSource, strict: bool) -> LoadedScan:  # noqa: FBT001
    return load_source_here(source, strict=strict)


def _header(path: Path, wanted: Sequence[Any] | None) -> tuple[DicomDataset, int]:
    return read_header_here(path, wanted=wanted)


def _headers(paths: Sequence[Path]) -> list[DicomFile | Unreadable]:
    return list(dicom_series.read_headers(paths))
