"""``medseg convert --to seg``: label maps to DICOM objects of their own series."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.conversion.file_labels import DicomObject, file_label_map
from medseg.conversion.table import (
    DONE,
    FAILED,
    KEPT,
    Conversion,
    ConversionSummary,
    ConversionTable,
    geometry_columns,
    without_identity,
)
from medseg.errors import (
    InputError,
    MedsegError,
    MissingFileError,
    OutputError,
    SettingsError,
)
from medseg.files import hash_file, hash_text, is_disk_full
from medseg.folder_lock import lock_folder
from medseg.io import find_scans, is_scan, scan_stem
from medseg.io.dicom.label_objects.object_headers import Algorithm
from medseg.io.dicom.label_objects.segment_codes import load_codes
from medseg.io.dicom.label_objects.segmentation_writing import SegmentationType
from medseg.io.dicom.series import Series
from medseg.io.dicom.series_selection import parse_rule
from medseg.io.dicom.stack import stack_of
from medseg.io.identity import identifiers_of, load_pseudonymizer
from medseg.io.sources import ScanSource
from medseg.labels import LabelScheme
from medseg.plain_text import distinct_names
from medseg.progress import Progress, Silent
from medseg.reading import REMEMBERED, find_sources, read_label_map
from medseg.settings import parse_settings
from medseg.volume import LabelMap

_LEAST_SHARE = 0.5
"""Of a label map's volume, on the slices; less, and the series is another one."""


@dataclass(frozen=True)
class DicomExportOptions:
    """What the objects are and what they say."""

    as_object: DicomObject = DicomObject.SEG
    kind: SegmentationType = SegmentationType.BINARY
    """How a segmentation object stores its segments."""
    scheme: LabelScheme | None = None
    """Names of the values; the values themselves are the names where it is left out."""
    codes_path: Path | None = None
    """A table of segment codes whose entries come before the built-in ones."""
    algorithm: Algorithm | None = None
    """What made the labels; medseg where it is left out."""

    @property
    def text(self) -> str:
        """Equal texts make equal objects."""
        codes = hash_file(self.codes_path)[:12] if self.codes_path else ""
        scheme = self.scheme.model_dump_json() if self.scheme else ""
        parts = (self.as_object.value, self.kind.value, scheme, codes, self.algorithm)
        return " ".join(map(str, parts))


def file_tree(
    labels: Path,
    source: Path,
    out: Path,
    *,
    options: DicomExportOptions | None = None,
    series: str | None = None,
    key_path: Path | None = None,
    progress: Progress | None = None,
) -> ConversionSummary:
    """Writes each label map as a DICOM object of the series that it belongs to.

    A label map belongs to the series that its name starts with, as `convert` and
    `predict` name results, or to the only series there is. Each object is read back
    and compared voxel by voxel before it appears. What is there already, made from
    the same bytes in the same way, is left alone.

    Args:
        labels: A label map, or a folder of them.
        source: Folder with the DICOM images.
        out: Folder for the objects and ``conversion.csv``.
        options: What the objects are and what they say.
        series: Rule that chooses the series, such as ``"Number=3"``.
        key_path: File with the key of the pseudonyms that label maps are named by.
        progress: Shows progress.

    Raises:
        InputError: There is no label map, or no DICOM series.
        SettingsError: The rule or a code cannot be understood.
        OutputError: The folder is another call's, or cannot be written.
    """
    shown = progress or Silent()
    paths = _label_paths(labels)
    rule, names = parse_rule(series), load_pseudonymizer(key_path)
    found = find_sources(source, names=names, rule=rule, progress=shown)
    images = {s.name: s for s in found if s.series is not None and not s.reason}
    if not images:
        raise InputError(f"{source}: no DICOM series there that labels may belong to")
    identifiers = identifiers_of(s.series.attributes for s in found if s.series)
    places = [os.fsencode(path) for path in paths]
    stems = distinct_names([scan_stem(path) for path in paths], places)
    with lock_folder(out):
        table = ConversionTable(out)
        exporter = _Exporter(
            images, out, options or DicomExportOptions(), table.earlier
        )
        tracked = shown.track(paths, label="writing DICOM objects", total=len(paths))
        with table.growing(), REMEMBERED.kept_in(out):
            for path, stem in zip(tracked, stems, strict=True):
                line = exporter.line(path, stem)
                line = without_identity(line, _as_source(path), identifiers)
                table.add(line)
                if line.status == FAILED:
                    shown.warn(f"{line.source}: failed: {line.reason}")
    return ConversionSummary(tuple(table.lines))


@dataclass(frozen=True)
class _Exporter:
    """What holds for all label maps of a call."""

    images: Mapping[str, ScanSource]
    out: Path
    options: DicomExportOptions
    earlier: Mapping[str, Conversion]

    def line(self, path: Path, stem: str) -> Conversion:
        """The line of one label map, which has been filed unless it failed."""
        name = f"{stem}_{self.options.as_object.value}"
        line = Conversion(
            name=name,
            status=FAILED,
            source=path.name,
            kind=self.options.as_object.value,
            num_files=1,
        )
        started = time.perf_counter()
        try:
            done = self._filed(path, line)
        except (MedsegError, OSError, ValueError) as error:
            if isinstance(error, OutputError) and is_disk_full(error):
                raise
            return replace(line, reason=str(error) or type(error).__name__)
        if done.status == KEPT:
            return done
        return replace(done, seconds=f"{time.perf_counter() - started:.2f}")

    def _filed(self, path: Path, line: Conversion) -> Conversion:
        image = self._image_of(path)
        assert image.series is not None
        output = f"{line.name}.dcm"
        content = hash_text(f"{_as_source(path).content_hash()} {image.content_hash()}")
        settings = hash_text(self.options.text)[:12]
        earlier = self.earlier.get(line.name)
        if earlier is not None and (self.out / output).is_file():
            same = (earlier.content_sha256, earlier.settings) == (content, settings)
            if same and earlier.status in (DONE, KEPT):
                return replace(earlier, status=KEPT)
            (self.out / output).unlink()  # lest it stand beside a failure
        label_map = read_label_map(path)
        scheme = self.options.scheme or _scheme_of(label_map.voxels, path)
        written = file_label_map(
            label_map,
            image.series,
            self.out / output,
            scheme=scheme,
            as_object=self.options.as_object,
            kind=self.options.kind,
            codes_path=self.options.codes_path,
            algorithm=self.options.algorithm,
        )
        counts = written.num_voxels
        share = _share_on_slices(label_map, image.series, sum(counts.values()))
        if share < _LEAST_SHARE:
            (self.out / output).unlink()
            raise InputError(
                f"{path}: only {100 * share:.0f} % of the labelled volume lies on the "
                f"slices of {image.name}; expected a label map of this series"
            )
        return replace(
            line,
            status=DONE,
            output=output,
            corrections=f"filed with {image.name}; {100 * share:.1f} % of the labelled "
            "volume lies on its slices",
            structures="; ".join(
                f"{name}: {count} voxels" for name, count in counts.items()
            ),
            settings=settings,
            content_sha256=content,
            **geometry_columns(label_map),
        )

    def _image_of(self, path: Path) -> ScanSource:
        """The series that a label map belongs to.

        Raises:
            InputError: It cannot be told.
        """
        stem = scan_stem(path)
        named = [n for n in self.images if stem == n or stem.startswith(f"{n}__")]
        if named:
            return self.images[max(named, key=len)]
        if len(self.images) == 1:
            return next(iter(self.images.values()))
        shown = "; ".join(
            f"{n} ({s.series})" for n, s in list(self.images.items())[:10]
        )
        raise InputError(
            f"{path}: {len(self.images)} series, and its name is none of theirs: "
            f"{shown:.1000}; choose one by --series Number=3, or rename the label map"
        )


def _share_on_slices(label_map: LabelMap, series: Series, num_pixels: int) -> float:
    """Volume that the object marks, as a share of what the label map marks."""
    stack = stack_of(series.frames)
    row_mm, column_mm = stack.frames[0].pixel_spacing
    voxel_mm3 = abs(float(np.linalg.det(label_map.affine[:3, :3])))
    gap = stack.gap if len(stack.frames) > 1 else label_map.grid.spacing[2]
    marked = np.count_nonzero(label_map.voxels) * voxel_mm3
    return num_pixels * row_mm * column_mm * gap / marked


def scheme_of_names(text: str) -> LabelScheme:
    """Names and values from text such as ``"liver=1,tumour=2"``.

    Raises:
        SettingsError: It has another form.
    """
    names: dict[str, object] = {}
    for part in filter(str.strip, text.split(",")):
        name, _, value = part.rpartition("=")
        if not name.strip() or not value.strip().isdigit():
            raise SettingsError(
                f"names {part.strip()!r}: expected name=value, such as liver=1,tumour=2"
            )
        names[name.strip()] = int(value)
    return parse_settings(LabelScheme, {"names": names}, source="names")


def read_options(
    to: str,
    kind: str,
    *,
    names: str | None = None,
    model: Path | None = None,
    codes: Path | None = None,
) -> DicomExportOptions:
    """Options from words of a command line.

    Args:
        to: ``seg`` or ``rtstruct``.
        kind: ``binary``, ``labelmap`` or ``fractional``.
        names: As `scheme_of_names` takes them.
        model: The model that made the labels: gives names and the algorithm.
        codes: A table of segment codes.

    Raises:
        MissingFileError: There is no such model or table.
        SettingsError: One of them cannot be understood.
    """
    options = DicomExportOptions(
        as_object=DicomObject(to),
        kind=SegmentationType(kind),
        scheme=scheme_of_names(names) if names else None,
        codes_path=codes,
    )
    load_codes(codes)
    return options_of_model(model, options) if model else options


def options_of_model(folder: Path, options: DicomExportOptions) -> DicomExportOptions:
    """The options with names and algorithm of the model that made the labels.

    Raises:
        MissingFileError: There is no model.
        SettingsError: Its description is damaged.
    """
    from medseg.prediction.ensemble import plan_of_models

    plan, weights = plan_of_models(folder)
    algorithm = Algorithm(plan.name, weights[:12])
    scheme = options.scheme or plan.labels
    return replace(options, scheme=scheme, algorithm=algorithm)


def _label_paths(labels: Path) -> Sequence[Path]:
    if not labels.exists():
        raise MissingFileError(f"{labels}: no such file or folder")
    paths = find_scans(labels) if labels.is_dir() else [labels]
    found = [path for path in paths if is_scan(path)]
    if not found:
        raise InputError(f"{labels}: no label map found")
    return found


def _as_source(path: Path) -> ScanSource:
    return ScanSource(path.parent, (path,), scan_stem(path))


def _scheme_of(voxels: np.ndarray, path: Path) -> LabelScheme:
    """Names made of the values.

    Raises:
        InputError: There is no value but 0.
    """
    found = [int(value) for value in np.unique(voxels) if value]
    if not found:
        raise InputError(f"{path}: the label map is empty; nothing to file")
    return LabelScheme(names={f"label {value}": value for value in found})
