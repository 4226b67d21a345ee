"""Measurements of structures as a DICOM report, read back before it counts.

A structured report of template TID 1500 with a group of measurements for each
structure, which names the segment of the segmentation object that was measured, and
one for each of the largest lesions of a finding in several. highdicom builds it.

References:
    DICOM PS3.16, TID 1500, 1411 and 1501.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from medseg import __version__
from medseg.errors import InputError, OutputError
from medseg.files import atomic_write
from medseg.io.dicom.elements import DicomDataset, quiet
from medseg.io.dicom.label_objects.object_headers import (
    RESEARCH_USE,
    Algorithm,
    character_set,
    label_text,
    series_description,
    series_number_beside,
    source_headers,
    tracking_uid,
)
from medseg.io.dicom.label_objects.segment_codes import Segment
from medseg.io.dicom.label_objects.segmentation_writing import coded
from medseg.io.dicom.label_objects.structure_measurements import (
    Extent,
    StructureMeasurements,
)
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import stack_of

_OWN_SCHEME = "99MEDSEG"
"""Of what the standard has no code for; 99 marks private ones."""
_AFTER_SEGMENTATION = 1001
"""Added to the image's series number; the segmentation has 1000."""
_PROCEDURES = {
    "CT": ("25045-6", "LN", "CT unspecified body region"),
    "MR": ("25056-3", "LN", "MRI unspecified body region"),
    "PT": ("44136-0", "LN", "PET unspecified body region"),
    "NM": ("49118-3", "LN", "NM unspecified body region"),
}
_ANY_PROCEDURE = ("363679005", "SCT", "Imaging procedure")


def write_report(
    path: Path,
    measurements: Sequence[StructureMeasurements],
    series: Series,
    *,
    segmentation: Path | None,
    algorithm: Algorithm,
    doubts: Sequence[str] = (),
) -> None:
    """Writes a measurement report of a series.

    Args:
        path: Where to; the file appears only when what was read back is equal.
        measurements: Of each structure; those that were not found get a volume and a
            count of 0, and refer to no segment.
        series: The image that was segmented.
        segmentation: The segmentation object; None where nothing was found, or it
            could not be written.
        algorithm: What segmented.
        doubts: Why the result is suspect, in words; none where it is not.

    Raises:
        InputError: The series lacks what a report needs.
        OutputError: It cannot be written, or what was read back differs.
    """
    sources = source_headers(stack_of(series.frames).frames, has_places=False)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some show names and numbers
        segments = None if segmentation is None else _header(segmentation)
        try:
            report = _report(measurements, series, sources, segments, algorithm, doubts)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{series}: its headers cannot carry a report: {error!s:.200}"
            ) from error
        expected = sorted(_all_numbers(measurements))
        with atomic_write(path) as temporary:
            report.save_as(temporary)
            if sorted(_numbers_in(_header(temporary))) != expected:
                raise OutputError(
                    f"{path}: measurements read back differ from what was written; "
                    "nothing was kept"
                )


def _header(path: Path) -> DicomDataset:
    import pydicom

    return pydicom.dcmread(path, stop_before_pixels=True)


def _report(
    measurements: Sequence[StructureMeasurements],
    series: Series,
    sources: Sequence[DicomDataset],
    segmentation: DicomDataset | None,
    algorithm: Algorithm,
    doubts: Sequence[str],
) -> DicomDataset:
    import highdicom as hd

    texts = [algorithm.name, *doubts, *(m.segment.name for m in measurements)]
    content = hd.sr.MeasurementReport(
        observation_context=_observer(algorithm),
        procedure_reported=_concept(
            *_PROCEDURES.get(series.attributes["Modality"], _ANY_PROCEDURE)
        ),
        imaging_measurements=[
            group
            for measured in measurements
            for group in _groups(measured, series, segmentation, algorithm, doubts)
        ],
    )
    evidence = [*sources, *([] if segmentation is None else [segmentation])]
    return hd.sr.EnhancedSR(
        evidence=evidence,
        content=content,
        series_instance_uid=hd.UID(),
        series_number=series_number_beside(
            series.attributes["SeriesNumber"], step=_AFTER_SEGMENTATION
        ),
        series_description=series_description(algorithm, "measurements"),
        specific_character_set=character_set(texts, sources[0]),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="medseg",
        manufacturer_model_name="medseg",
        software_versions=__version__,
        is_complete=True,
    )


def _observer(algorithm: Algorithm) -> Any:
    """The program that measured, known by a UID of its own for each model."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    text = f"medseg {algorithm.name} {algorithm.version}"
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{uuid5(NAMESPACE_OID, text).int}",
        name=f"medseg: {RESEARCH_USE}",
        manufacturer_name="medseg",
        model_name=algorithm.name,
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _groups(
    measured: StructureMeasurements,
    series: Series,
    segmentation: DicomDataset | None,
    algorithm: Algorithm,
    doubts: Sequence[str],
) -> Iterator[Any]:
    """The measurements of a structure, then those of its lesions."""
    segment, count = measured.segment, measured.count
    write = partial(_group, segment, series, segmentation, algorithm, doubts)
    listed, word = len(measured.lesions), _word_for(segment)
    comments = [f"the {listed} largest of {count} {word}s are measured one by one"]
    number_of = ("246206008", "SCT", "Number of lesions")
    if not segment.is_finding:
        number_of = ("parts", _OWN_SCHEME, "Number of separate parts")
    yield write(
        segment.name,
        measured.extent,
        seed=segment.name,
        counted={_concept(*number_of): count},
        comments=comments if 0 < listed < count else (),
    )
    for lesion in measured.lesions:
        x, y, z = lesion.center_mm
        ending = f", {word} {lesion.number}"
        where = f"{x:.1f}, {y:.1f}, {z:.1f}"
        yield write(
            label_text(segment.name, room=len(ending)) + ending,
            lesion.extent,
            seed=f"{segment.name} {word} of {lesion.num_voxels} at {where}",
            comments=(
                f"one of {count} {word}s of the segment; centre at {where} mm "
                "(patient coordinates: to the left, to the back, upwards)",
            ),
        )


def _word_for(segment: Segment) -> str:
    """What the parts of a structure are called."""
    return "lesion" if segment.is_finding else "object"


def _group(
    segment: Segment,
    series: Series,
    segmentation: DicomDataset | None,
    algorithm: Algorithm,
    doubts: Sequence[str],
    name: str,
    extent: Extent,
    *,
    seed: str,
    counted: Mapping[Any, int] | None = None,
    comments: Sequence[str] = (),
) -> Any:
    """Measurements of a structure or a lesion, of its segment where there is one.

    Args:
        segment: The structure.
        series: The image.
        segmentation: The object that holds the segment, if there is one.
        algorithm: What segmented.
        doubts: Why the result is suspect.
        name: What the group is called.
        extent: What was measured.
        seed: What its tracking UID is made from, beside the series.
        counted: Numbers of parts by concept.
        comments: What else is to be said.
    """
    import highdicom as hd

    uid = series.attributes["SeriesInstanceUID"]
    common: dict[str, Any] = {
        "tracking_identifier": hd.sr.TrackingIdentifier(
            uid=tracking_uid(uid, seed), identifier=label_text(name)
        ),
        "finding_category": coded(segment.category),
        "finding_type": coded(segment.type),
        "finding_sites": _sites(segment),
        "algorithm_id": hd.sr.AlgorithmIdentification(
            name=algorithm.name, version=algorithm.version
        ),
        "measurements": list(_measurements(extent, counted or {})),
        "qualitative_evaluations": _quality() if doubts else None,
    }
    group: Any
    if segmentation is None or not extent.is_on_slices:
        group = hd.sr.MeasurementsAndQualitativeEvaluations(**common)
    else:
        group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=hd.sr.ReferencedSegment(
                sop_class_uid=segmentation.SOPClassUID,
                sop_instance_uid=segmentation.SOPInstanceUID,
                segment_number=segment.number,
                source_series=hd.sr.SourceSeriesForSegmentation(uid),
            ),
            **common,
        )
    for text in (*comments, *doubts):
        group[0].ContentSequence.append(_comment(text))
    return group


def _sites(segment: Segment) -> list[Any] | None:
    """Where a finding lies; of an organ with sides, which one it is."""
    import highdicom as hd

    is_organ = not segment.is_finding
    place = segment.region or (segment.type if is_organ and segment.side else None)
    if place is None:
        return None
    side = None if segment.side is None else coded(segment.side)
    return [hd.sr.FindingSite(coded(place), laterality=side)]


def _quality() -> list[Any]:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    suspect = _concept("suspect", _OWN_SCHEME, "Suspect: see comment")
    return [hd.sr.QualitativeEvaluation(codes.DCM.QualityAssessment, suspect)]


def _comment(text: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.sr.TextContentItem(
        name=codes.DCM.Comment,
        value=text,
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )


def _numbers(extent: Extent) -> dict[str, float]:
    """What is measured, by kind, with the six digits that are written."""
    values = {
        "volume": extent.volume_ml,
        "area": extent.area_mm2,
        "long": extent.long_axis_mm,
        "short": extent.short_axis_mm,
        "diameter": extent.diameter_mm,
    }
    return {
        kind: float(f"{value:.6g}")
        for kind, value in values.items()
        if value is not None
    }


def _all_numbers(measurements: Sequence[StructureMeasurements]) -> Iterator[float]:
    """Every number that a report has to hold."""
    for measured in measurements:
        yield measured.count
        for extent in (measured.extent, *(one.extent for one in measured.lesions)):
            yield from _numbers(extent).values()


def _measurements(extent: Extent, counted: Mapping[Any, int]) -> Iterator[Any]:
    """Each measurement with its name and unit."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    known = {
        "volume": (codes.SCT.Volume, codes.UCUM.CubicCentimeter),
        "area": (codes.SCT.Area, codes.UCUM.SquareMillimeter),
        "long": (codes.SCT.LongAxis, codes.UCUM.Millimeter),
        "short": (codes.SCT.ShortAxis, codes.UCUM.Millimeter),
        "diameter": (codes.IBSI.Maximum3DDiameterOfAMesh, codes.UCUM.Millimeter),
    }
    for concept, count in counted.items():
        unit = codes.UCUM.NoUnits
        yield hd.sr.Measurement(name=concept, value=count, unit=unit)
    for kind, value in _numbers(extent).items():
        name, unit = known[kind]
        yield hd.sr.Measurement(name=name, value=value, unit=unit)


def _numbers_in(item: DicomDataset) -> Iterator[float]:
    """All numbers of a report's tree."""
    for measured in item.get("MeasuredValueSequence") or ():
        yield float(measured.NumericValue)
    for child in item.get("ContentSequence") or ():
        yield from _numbers_in(child)


def _concept(value: str, scheme: str, meaning: str) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(value, scheme, meaning)
