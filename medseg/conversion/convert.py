"""``medseg convert``: any tree of scans to one NIfTI per volume, with a record."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.conversion.table import (
    DONE,
    FAILED,
    KEPT,
    SET_ASIDE,
    Conversion,
    ConversionSummary,
    ConversionTable,
    geometry_columns,
    without_identity,
)
from medseg.conversion.training_set import LabelledCase, write_training_sets
from medseg.errors import (
    GeometryError,
    InputError,
    MedsegError,
    MissingFileError,
    OutputError,
)
from medseg.files import is_disk_full, real_path
from medseg.folder_lock import lock_folder
from medseg.geometry import ORTHONORMAL_TOLERANCE, orthonormality_error
from medseg.io import read_grid, write_label_map, write_volume
from medseg.io.dicom.label_objects.labels import (
    ImageLabels,
    UnwantedError,
)
from medseg.io.dicom.label_objects.references import LabelledImage
from medseg.io.dicom.label_objects.structure_choice import (
    StructureChoice,
    parse_structures,
)
from medseg.io.dicom.series_selection import parse_rule
from medseg.io.geometry_warning import recorded_geometry
from medseg.io.identity import Pseudonymizer, identifiers_of, load_pseudonymizer, masked
from medseg.io.sources import ScanSource
from medseg.plain_text import distinct_names, one_line, without_dates_and_uids
from medseg.progress import Progress, Silent
from medseg.reading import (
    REMEMBERED,
    find_sources,
    load_source,
    names_in,
    read_labels,
    start_early,
)


def convert(
    scans: Path,
    out: Path,
    *,
    series: str | None = None,
    strict: bool = False,
    structures: str | None = None,
    key_path: Path | None = None,
    progress: Progress | None = None,
) -> ConversionSummary:
    """Writes every volume below a path as NIfTI, and ``conversion.csv`` beside them.

    A scan that cannot be read is a line in the table and stops nothing. A scan that
    is there already, made from the same bytes with the same settings, is left alone,
    so that a killed call can be repeated. Results of DICOM scans carry pseudonyms.
    Where segmentations or structure sets lie among the images, images and labels are
    listed in ``manifest.csv``, a data set.

    Args:
        scans: A file, or a folder of anything.
        out: Folder for the results.
        series: Rule that DICOM series must meet, such as ``"Modality=CT"``.
        strict: Whether scans that need repair (tilt, gaps, duplicates) are refused.
        structures: Which structures of label objects are wanted, and what they are
            called there, such as ``"tumour=GTV*, heart"``; of two in one voxel the
            one named first counts. All, under their own names, where it is left out.
        key_path: File with the key of the pseudonyms; made where it is absent.
        progress: Shows progress.

    Raises:
        InputError: There is no such path, or no scan below it.
        SettingsError: The rule or the structures cannot be understood.
        OutputError: The folder is another call's, or cannot be written.
    """
    shown = progress or Silent()
    rule = parse_rule(series)
    choice = parse_structures(structures) if structures else None
    names = load_pseudonymizer(key_path)
    if not scans.exists():
        raise MissingFileError(f"{scans}: no such file or folder")
    start_early()
    with lock_folder(out), REMEMBERED.kept_in(out):
        found = find_sources(scans, names=names, rule=rule, progress=shown)
        found = [source for source in found if not _lies_in(source, out)]
        if not found:
            raise InputError(f"{scans}: no scan found")
        identifiers = identifiers_of(s.series.attributes for s in found if s.series)
        if choice is None:
            choice = StructureChoice.of_names(
                _structure_names(found),
                mask=lambda name: one_line(
                    without_dates_and_uids(masked(name, identifiers))
                ),
            )
        run = _Run(out, strict, choice, names, ConversionTable(out))
        return run.convert(_with_safe_names(found), shown, identifiers)


def _with_safe_names(sources: Sequence[ScanSource]) -> list[ScanSource]:
    """The sources, called by names that every file system takes and tells apart."""
    places = [os.fsencode(source.files[0]) for source in sources]
    names = distinct_names([source.name for source in sources], places)
    return [replace(s, name=name) for s, name in zip(sources, names, strict=True)]


def _structure_names(sources: Sequence[ScanSource]) -> Iterator[str]:
    """Names in all label objects; a damaged one is reported when its turn comes."""
    for source in sources:
        if source.series is None or not source.is_labels:
            continue
        for path in source.files:
            with suppress(InputError):
                yield from names_in(path, source.series.kind)


@dataclass
class _Run:
    """One call: what holds for all scans, and the images that labels may refer to."""

    out: Path
    strict: bool
    choice: StructureChoice
    names: Pseudonymizer
    table: ConversionTable
    images: list[LabelledImage] = field(default_factory=list)
    labels: defaultdict[str, list[Path]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Label maps by the name of their image."""
    annotated: defaultdict[str, set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    """Structures that label objects list, by the name of their image."""

    def convert(
        self,
        sources: Sequence[ScanSource],
        progress: Progress,
        identifiers: frozenset[str],
    ) -> ConversionSummary:
        """A line for each scan, and manifests of those with labels."""
        ordered = sorted(sources, key=lambda source: source.is_labels)
        tracked = progress.track(ordered, label="converting", total=len(ordered))
        with self.table.growing():
            for source in tracked:
                line = self._line(source)
                line = without_identity(line, source, identifiers)
                self.table.add(line)
                if line.status in (FAILED, SET_ASIDE):
                    progress.warn(
                        f"{line.name} ({line.source}): {line.status}: {line.reason}"
                    )
        cases = list(self._cases())
        manifests = write_training_sets(cases, self.out, self.choice, progress=progress)
        return ConversionSummary(tuple(self.table.lines), manifests)

    def _line(self, source: ScanSource) -> Conversion:
        """The line of one scan, whose volume has been written unless it failed."""
        line = Conversion(
            name=source.name,
            status=FAILED if source.is_fault else SET_ASIDE,
            source=source.shown,
            kind=_kind_of(source),
            num_files=len(source.files),
            reason=source.reason,
        )
        if source.reason and not source.is_labels:
            return line
        started = time.perf_counter()
        try:
            if source.is_labels:
                return self._label_maps(source, line)
            line = self._volume(source, line, started)
            self._remember(source, line)
            return line
        except UnwantedError as error:
            return replace(line, reason=str(error))
        except MedsegError as error:
            if isinstance(error, OutputError) and is_disk_full(error):
                raise
            reason = str(error)
        except (OSError, ValueError, ArithmeticError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error!s:.200}"
        except MemoryError:
            reason = "not enough memory"
        return replace(line, status=FAILED, reason=reason)

    def _volume(
        self, source: ScanSource, line: Conversion, started: float
    ) -> Conversion:
        """The line of an image, which has been written or was there already."""
        settings = "strict" if self.strict else ""
        content = source.content_hash()
        output = f"{source.name}.nii.gz"
        earlier = self.table.earlier.get(source.name)
        if earlier is not None and (self.out / output).exists():
            same = (earlier.content_sha256, earlier.settings) == (content, settings)
            if same and earlier.status in (DONE, KEPT):
                return replace(earlier, status=KEPT)
            if earlier.content_sha256 != content:  # lest it stand beside a failure
                (self.out / output).unlink()
        with recorded_geometry() as said:
            scan = load_source(source, strict=self.strict)
        write_volume(self.out / output, scan.volume)
        notes = [str(correction) for correction in scan.corrections]
        notes += said
        return replace(
            line,
            status=DONE,
            output=output,
            corrections="; ".join(notes),
            seconds=f"{time.perf_counter() - started:.2f}",
            settings=settings,
            content_sha256=content,
            **geometry_columns(scan.volume),
        )

    def _label_maps(self, source: ScanSource, line: Conversion) -> Conversion:
        """The line of label objects, put on their images' grids."""
        assert source.series is not None
        labels, outputs, named = None, [], dict[int, str]()
        others, notes = dict[str, None](), dict[str, None]()
        for number, path in enumerate(sorted(source.files)):
            labels = read_labels(path, source.series.kind, self.images, self.choice)
            _require_straight(labels, path)
            suffix = f"_{number + 1}" if len(source.files) > 1 else ""
            stem = "__".join(filter(None, [labels.image, source.name + suffix]))
            write_label_map(self.out / f"{stem}.nii.gz", labels.label_map)
            outputs.append(f"{stem}.nii.gz")
            named |= labels.names
            others |= dict.fromkeys(labels.others)
            notes |= dict.fromkeys(map(str, labels.corrections))
            if labels.image:
                self.labels[labels.image].append(self.out / outputs[-1])
                self.annotated[labels.image] |= set(labels.names.values())
        assert labels is not None
        if others:
            notes[f"structures: {', '.join(others)} not asked for"] = None
        return replace(
            line,
            status=DONE,
            reason="",
            output="; ".join(outputs),
            corrections="; ".join(notes),
            structures="; ".join(f"{value} {name}" for value, name in named.items()),
            **geometry_columns(labels.label_map),
        )

    def _remember(self, source: ScanSource, line: Conversion) -> None:
        """Keeps an image's grid for the labels that refer to it."""
        if source.series is None or source.is_labels:
            return
        if line.status in (DONE, KEPT):
            grid = read_grid(self.out / line.output)
            self.images.append(LabelledImage(source.name, source.series, grid))

    def _cases(self) -> Iterator[LabelledCase]:
        """Images that have labels."""
        for image in self.images:
            if labels := self.labels.get(image.name):
                attributes = image.series.attributes
                patient = attributes["PatientID"] or attributes["StudyInstanceUID"]
                modality = attributes["Modality"]
                yield LabelledCase(
                    name=image.name,
                    patient=f"patient_{self.names.name(patient)}",
                    modality=modality if modality.isalpha() else "image",
                    image=self.out / f"{image.name}.nii.gz",
                    labels=tuple(labels),
                    annotated=frozenset(self.annotated[image.name]),
                )


def _require_straight(labels: ImageLabels, path: Path) -> None:
    """Refuses tilted planes whose image, and so whose grid, is not at hand."""
    if orthonormality_error(labels.label_map.affine) > ORTHONORMAL_TOLERANCE:
        raise GeometryError(
            f"{path}: planes of a tilted image that is not here; convert them together"
        )


def _kind_of(source: ScanSource) -> str:
    if source.series is None:
        return "DICOM" if source.is_fault else "file"
    return str(source.series).rpartition(" in ")[0]


def _lies_in(source: ScanSource, out: Path) -> bool:
    """Whether a source is a result of an earlier call."""
    return out.resolve() in real_path(source.files[0]).parents
