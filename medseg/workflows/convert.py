"""``medseg convert``: any tree of scans to one NIfTI per volume, with a record."""

import csv
import io
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import GeometryError, InputError, MedsegError, OutputError
from medseg.files import write_text
from medseg.geometry import ORTHONORMAL_TOLERANCE, orthonormality_error
from medseg.io import GeometryWarning, read_grid, write_label_map, write_volume
from medseg.io.dicom.choice import parse_rule
from medseg.io.dicom.labels import LabelledImage, NamedLabels, read_labels
from medseg.io.identity import identifiers_of, masked
from medseg.io.pseudonym import load_pseudonymizer
from medseg.io.sources import ScanSource, find_sources, load_source
from medseg.progress import Progress, Silent
from medseg.volume import LabelMap, Volume

TABLE = "conversion.csv"
DONE, KEPT, FAILED, SET_ASIDE = "done", "unchanged", "failed", "set aside"


@dataclass(frozen=True)
class Conversion:
    """One line of the table: what became of one scan."""

    name: str
    status: str
    output: str = ""
    source: str = ""
    """Folder or file below the input; parts that name a patient are masked."""
    kind: str = ""
    num_files: int = 0
    shape: str = ""
    spacing_mm: str = ""
    orientation: str = ""
    affine: str = ""
    voxel_type: str = ""
    corrections: str = ""
    """What was repaired, resampled or decided, with numbers."""
    structures: str = ""
    """Values and names of the labels, for a segmentation or a structure set."""
    reason: str = ""
    """Why the scan failed or was set aside."""
    seconds: str = ""
    settings: str = ""
    content_sha256: str = ""


@dataclass(frozen=True)
class ConversionSummary:
    """All lines of the table."""

    conversions: tuple[Conversion, ...]

    def count(self, status: str) -> int:
        """How many scans have a status."""
        return sum(conversion.status == status for conversion in self.conversions)

    @property
    def exit_code(self) -> int:
        """0 where all scans are there, 1 where some failed."""
        return 1 if self.count(FAILED) else 0


def convert(
    scans: Path,
    out: Path,
    *,
    series: str | None = None,
    strict: bool = False,
    key_path: Path | None = None,
    progress: Progress | None = None,
) -> ConversionSummary:
    """Writes every volume below a path as NIfTI, and ``conversion.csv`` beside them.

    A scan that cannot be read is a line in the table and stops nothing. A scan that
    is there already, made from the same bytes with the same settings, is left alone,
    so that a killed call can be repeated. Results of DICOM scans carry pseudonyms.

    Args:
        scans: A file, or a folder of anything.
        out: Folder for the results.
        series: Rule that DICOM series must meet, such as ``"Modality=CT"``.
        strict: Whether scans that need repair (tilt, gaps, duplicates) are refused.
        key_path: File with the key of the pseudonyms; made where it is absent.
        progress: Shows progress.

    Raises:
        InputError: There is no such path, or no scan below it.
        SettingsError: The rule cannot be understood.
        OutputError: The folder cannot be written.
    """
    shown = progress or Silent()
    names = load_pseudonymizer(key_path)
    found = find_sources(scans, names=names, rule=parse_rule(series), progress=shown)
    found = [source for source in found if not _lies_in(source, out)]
    if not found:
        raise InputError(f"{scans}: no scan found")
    identifiers = identifiers_of(s.series.attributes for s in found if s.series)
    earlier = _earlier_lines(out / TABLE)
    lines: list[Conversion] = []
    images: dict[str, LabelledImage] = {}
    found.sort(key=lambda source: source.is_labels)  # after the images they belong to
    for source in shown.track(found, label="converting", total=len(found)):
        line = _convert_one(source, out, strict, earlier.get(source.name), images)
        _remember(images, source, line, out)
        line = _without_identity(line, source, identifiers)
        lines.append(line)
        if line.status in (FAILED, SET_ASIDE):
            shown.warn(f"{line.name} ({line.source}): {line.status}: {line.reason}")
        _write_table(out / TABLE, lines)
    return ConversionSummary(tuple(lines))


def _convert_one(
    source: ScanSource,
    out: Path,
    strict: bool,  # noqa: FBT001
    earlier: Conversion | None,
    images: dict[str, LabelledImage],
) -> Conversion:
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
            return _write_labels(source, line, out, images)
        return _read_and_write(source, line, out, strict, earlier, started)
    except OutputError:
        raise
    except MedsegError as error:
        reason = str(error)
    except (OSError, ValueError, ArithmeticError, MemoryError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error!s:.200}"
    return replace(line, status=FAILED, reason=reason)


def _read_and_write(
    source: ScanSource,
    line: Conversion,
    out: Path,
    strict: bool,  # noqa: FBT001
    earlier: Conversion | None,
    started: float,
) -> Conversion:
    settings = "strict" if strict else ""
    content = source.content_hash()
    output = f"{source.name}.nii.gz"
    if earlier is not None and (out / output).exists():
        same = (earlier.content_sha256, earlier.settings) == (content, settings)
        if same and earlier.status in (DONE, KEPT):
            return replace(earlier, status=KEPT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GeometryWarning)
        scan = load_source(source, strict=strict)
    write_volume(out / output, scan.volume)
    notes = [str(correction) for correction in scan.corrections]
    notes += [str(w.message) for w in caught if w.category is GeometryWarning]
    return replace(
        line,
        status=DONE,
        output=output,
        corrections="; ".join(notes),
        seconds=f"{time.perf_counter() - started:.2f}",
        settings=settings,
        content_sha256=content,
        **_geometry(scan.volume),
    )


def _write_labels(
    source: ScanSource, line: Conversion, out: Path, images: dict[str, LabelledImage]
) -> Conversion:
    """The line of a segmentation or structure set, put on its image's grid."""
    assert source.series is not None
    labels, outputs, names = None, [], []
    for number, path in enumerate(sorted(source.files)):
        labels = read_labels(path, source.series.kind, images)
        _require_straight(labels, path)
        suffix = f"_{number + 1}" if len(source.files) > 1 else ""
        stem = "__".join(filter(None, [labels.image, source.name + suffix]))
        write_label_map(out / f"{stem}.nii.gz", labels.label_map)
        outputs.append(f"{stem}.nii.gz")
        names += [f"{value} {name}" for value, name in labels.names.items()]
    assert labels is not None
    return replace(
        line,
        status=DONE,
        reason="",
        output="; ".join(outputs),
        structures="; ".join(names),
        **_geometry(labels.label_map),
    )


def _require_straight(labels: NamedLabels, path: Path) -> None:
    """Refuses tilted planes whose image, and so whose grid, is not at hand."""
    if orthonormality_error(labels.label_map.affine) > ORTHONORMAL_TOLERANCE:
        raise GeometryError(
            f"{path}: planes of a tilted image that is not here; convert them together"
        )


def _remember(
    images: dict[str, LabelledImage], source: ScanSource, line: Conversion, out: Path
) -> None:
    """Keeps an image's grid for the labels that refer to it."""
    if source.series is None or line.status not in (DONE, KEPT) or source.is_labels:
        return
    uid = source.series.attributes["SeriesInstanceUID"]
    grid = read_grid(out / line.output)
    images.setdefault(uid, LabelledImage(source.name, source.series, grid))


def _geometry(volume: Volume | LabelMap) -> dict[str, Any]:
    """Columns that say where the voxels lie."""
    rows = np.round(volume.affine[:3], 6).tolist()
    return {
        "shape": " ".join(map(str, volume.voxels.shape)),
        "spacing_mm": " ".join(f"{s:.6g}" for s in volume.grid.spacing),
        "orientation": volume.grid.orientation,
        "affine": " ".join(f"{value:.6g}" for row in rows for value in row),
        "voxel_type": str(volume.voxels.dtype),
    }


def _kind_of(source: ScanSource) -> str:
    if source.series is None:
        return "DICOM" if source.is_fault else "file"
    return str(source.series).rpartition(" in ")[0]


def _lies_in(source: ScanSource, out: Path) -> bool:
    """Whether a source is a result of an earlier call."""
    return out.resolve() in source.files[0].resolve().parents


def _without_identity(
    line: Conversion, source: ScanSource, identifiers: frozenset[str]
) -> Conversion:
    """The line without absolute paths and without parts of patients' names."""
    texts: dict[str, Any] = {
        name: masked(getattr(line, name).replace(f"{source.root}/", ""), identifiers)
        for name in ("source", "reason", "corrections", "structures")
    }
    return replace(line, **texts)


def _earlier_lines(table: Path) -> dict[str, Conversion]:
    """Lines of an earlier call by name; none where the table cannot be used."""
    known = [field.name for field in fields(Conversion)]
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    rows = csv.DictReader(io.StringIO(text))
    if rows.fieldnames != known:
        return {}
    lines = [_line_of(row) for row in rows]
    return {line.name: line for line in lines}


def _line_of(row: dict[str, Any]) -> Conversion:
    return Conversion(**{**row, "num_files": int(row["num_files"])})


def _write_table(path: Path, lines: Sequence[Conversion]) -> None:
    """The table, whole; written after each scan so that a killed call is continued."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(Conversion)])
    writer.writerows([list(asdict(line).values()) for line in lines])
    write_text(path, stream.getvalue())
