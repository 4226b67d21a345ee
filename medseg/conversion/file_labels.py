"""Label maps to DICOM objects filed with the images that they belong to."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import numpy as np

from medseg.errors import InputError, LabelError
from medseg.io.dicom.label_objects.object_headers import Algorithm
from medseg.io.dicom.label_objects.segment_codes import load_codes, segments_of
from medseg.io.dicom.label_objects.segmentation_writing import (
    SegmentationType,
    Written,
    write_segmentation,
)
from medseg.io.dicom.label_objects.structures_writing import write_structures
from medseg.io.dicom.series import Series
from medseg.io.dicom.series_selection import parse_rule
from medseg.labels import LabelScheme
from medseg.reading import find_series, read_label_map
from medseg.volume import LabelMap


class DicomObject(Enum):
    """Which DICOM object holds the labels."""

    SEG = "seg"
    RTSTRUCT = "rtstruct"


def file_labels(
    label_path: Path,
    source: Path,
    out: Path,
    *,
    names: Mapping[str, int] | None = None,
    series: str | None = None,
    as_object: DicomObject = DicomObject.SEG,
    kind: SegmentationType = SegmentationType.BINARY,
    codes_path: Path | None = None,
    algorithm: Algorithm | None = None,
) -> Written:
    """Writes a label map as a DICOM object of the series that it belongs to.

    The object is read back and compared voxel by voxel before it appears.

    Args:
        label_path: A label map in any format, on any grid in the patient.
        source: Folder with the DICOM series.
        out: The object's file.
        names: Value in the label map of each structure; the values themselves are
            the names where it is left out.
        series: Rule that chooses the series where the folder holds several.
        as_object: Segmentation object or structure set.
        kind: How a segmentation object stores its segments.
        codes_path: A user's own table of segment codes.
        algorithm: What made the labels.

    Raises:
        InputError: The label map or the series cannot be used.
        OutputError: The object cannot be written, or read back it differs.
    """
    label_map = read_label_map(label_path)
    chosen = chosen_series(source, series)
    if names is None:
        found = [int(value) for value in np.unique(label_map.voxels) if value]
        names = {f"label {value}": value for value in found}
    return file_label_map(
        label_map,
        chosen,
        out,
        scheme=_scheme(names, label_path),
        as_object=as_object,
        kind=kind,
        codes_path=codes_path,
        algorithm=algorithm,
    )


def file_label_map(
    label_map: LabelMap,
    series: Series,
    out: Path,
    *,
    scheme: LabelScheme,
    as_object: DicomObject = DicomObject.SEG,
    kind: SegmentationType = SegmentationType.BINARY,
    codes_path: Path | None = None,
    algorithm: Algorithm | None = None,
) -> Written:
    """As `file_labels`, for a label map and a series that were read already."""
    codes = load_codes(codes_path)
    segments = segments_of(scheme.structures, codes)
    indices = LabelMap(
        scheme.to_indices(label_map.voxels, name=out.name), label_map.affine
    )
    if as_object is DicomObject.RTSTRUCT:
        return write_structures(
            out, indices, series, segments=segments, algorithm=algorithm
        )
    return write_segmentation(
        out, indices, series, segments=segments, kind=kind, algorithm=algorithm
    )


def chosen_series(source: Path, rule: str | None) -> Series:
    """The one series of a folder that a rule chooses.

    Raises:
        InputError: None does, or several do; the message names them.
    """
    chooses = parse_rule(rule).chooses
    found = [series for series in find_series(source).volumes if chooses(series)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{source}: no DICOM series there that the rule chooses")
    named = "; ".join(str(series) for series in found[:10])
    raise InputError(
        f"{source}: {len(found)} series, expected one: {named}; choose by a rule such "
        "as Number=3"
    )


def _scheme(names: Mapping[str, int], path: Path) -> LabelScheme:
    if not names:
        raise LabelError(f"{path}: the label map is empty; nothing to file")
    return LabelScheme(names=dict(names))
