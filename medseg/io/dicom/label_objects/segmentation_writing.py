"""Label maps as DICOM segmentation objects, read back and compared before they count.

highdicom builds the object. Labels reach the image's own planes through the affines;
patient, study and frame of reference come from the image, since the object must be
filed with it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from medseg import __version__
from medseg.errors import InputError, LabelError, OutputError
from medseg.files import atomic_write
from medseg.io.dicom.elements import DicomDataset, quiet
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.label_objects.object_headers import (
    Algorithm,
    character_set,
    label_text,
    series_description,
    series_number_beside,
    source_headers,
    tracking_uid,
)
from medseg.io.dicom.label_objects.planes import planes_of
from medseg.io.dicom.label_objects.segment_codes import Code, Segment
from medseg.io.dicom.label_objects.segmentation import Segmentation, read_segmentation
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import stack_of
from medseg.volume import LabelMap, Volume

_MAX_FRACTION = 255


class SegmentationType(Enum):
    """How a segmentation object stores its segments."""

    BINARY = "binary"
    """One bit per pixel and segment; what most viewers show."""
    LABELMAP = "labelmap"
    """One number per pixel; small, and not yet shown by most viewers."""
    FRACTIONAL = "fractional"
    """A probability per pixel and segment, in steps of 1/255."""


@dataclass(frozen=True)
class Written:
    """A DICOM object that was written, read back and found equal."""

    path: Path
    num_planes: int
    num_voxels: dict[str, int]
    """Voxels of each structure on the image's planes."""


def write_segmentation(
    path: Path,
    labels: LabelMap | Volume,
    series: Series,
    *,
    segments: Sequence[Segment],
    kind: SegmentationType = SegmentationType.BINARY,
    algorithm: Algorithm | None = None,
    content_description: str | None = None,
) -> Written:
    """Writes labels as a segmentation of a series, and reads them back.

    Args:
        path: Where to; the file appears only when what was read back is equal.
        labels: Numbers of segments on any grid; or, for fractional objects, one
            probability channel for each segment.
        series: The image that was segmented.
        segments: Description of each segment, numbered from 1 without gaps.
        kind: How to store.
        algorithm: What made the labels.
        content_description: What a viewer says of the object, at most 64 characters.

    Raises:
        InputError: The series lacks what a segmentation object needs.
        LabelError: A label has no description, or there is nothing to write.
        OutputError: It cannot be written, or what was read back differs.
    """
    frames = stack_of(series.frames).frames
    planes = _planes(labels, frames, kind)
    numbers = [segment.number for segment in segments]
    if numbers != list(range(1, len(numbers) + 1)):
        raise LabelError(
            f"{path}: segments {numbers}, expected 1, 2, 3, … without gaps"
        )
    _require_described(planes, numbers, path)
    dataset = _build(planes, frames, series, segments, kind, algorithm or Algorithm())
    if content_description is not None:
        dataset.ContentDescription = content_description
    with atomic_write(path) as temporary:
        with quiet():
            dataset.save_as(temporary)
        _compare(temporary, planes, frames, segments, path)
    count = _counts(planes, segments)
    return Written(path, len(frames), count)


def _planes(
    labels: LabelMap | Volume, frames: Sequence[Frame], kind: SegmentationType
) -> np.ndarray:
    """(n, rows, columns) of numbers, or (n, rows, columns, segments) of shares."""
    if isinstance(labels, LabelMap):
        return planes_of(labels.voxels, labels.affine, frames)
    if kind is not SegmentationType.FRACTIONAL:
        raise LabelError("probabilities can only be stored as fractional")
    shares = [planes_of(channel, labels.affine, frames) for channel in labels.voxels]
    return np.asarray(np.clip(np.stack(shares, axis=-1), 0, 1), dtype=np.float32)


def _require_described(planes: np.ndarray, numbers: list[int], path: Path) -> None:
    if planes.ndim == 4:
        found = list(range(1, planes.shape[3] + 1))
    else:
        found = [int(value) for value in np.unique(planes) if value]
    if missing := sorted(set(found) - set(numbers)):
        raise LabelError(f"{path}: labels {missing} have no description")
    if not planes.any():
        raise LabelError(f"{path}: no label lies on the slices of the series")


def _build(
    planes: np.ndarray,
    frames: Sequence[Frame],
    series: Series,
    segments: Sequence[Segment],
    kind: SegmentationType,
    algorithm: Algorithm,
) -> DicomDataset:
    """The object, in the image's study and frame of reference."""
    import highdicom as hd

    sources = source_headers(frames)
    texts = [algorithm.name, *(segment.name for segment in segments)]
    rows = (
        planes if planes.ndim == 4 else planes.astype(np.min_scalar_type(planes.max()))
    )
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some show names and numbers
        try:
            return hd.seg.Segmentation(
                source_images=sources,
                pixel_array=rows,
                segmentation_type=kind.name,
                segment_descriptions=[
                    _description(s, algorithm, series) for s in segments
                ],
                series_instance_uid=hd.UID(),
                series_number=series_number_beside(series.attributes["SeriesNumber"]),
                series_description=series_description(algorithm, "segmentation"),
                specific_character_set=character_set(texts, sources[0]),
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="medseg",
                manufacturer_model_name="medseg",
                software_versions=__version__,
                device_serial_number="none",
                max_fractional_value=_MAX_FRACTION,
                content_label="SEGMENTATION",
                plane_positions=_positions(frames),
                plane_orientation=hd.PlaneOrientationSequence(
                    "PATIENT", list(frames[0].orientation)
                ),
                pixel_measures=_measures(frames, series),
            )
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{series}: its headers cannot carry a segmentation: {error!s:.200}"
            ) from error


def _positions(frames: Sequence[Frame]) -> list[Any]:
    import highdicom as hd

    return [
        hd.PlanePositionSequence("PATIENT", list(frame.position or (0, 0, 0)))
        for frame in frames
    ]


def _measures(frames: Sequence[Frame], series: Series) -> Any:
    """Pixel spacing and, for even and straight stacks, the distance of slices."""
    import highdicom as hd

    stack = stack_of(frames)
    try:
        thickness = float(series.attributes["SliceThickness"])
    except ValueError:
        thickness = stack.gap or 1.0
    even = len(frames) > 1 and stack.is_even
    return hd.PixelMeasuresSequence(
        pixel_spacing=list(frames[0].pixel_spacing),
        slice_thickness=max(thickness, 1e-3),
        spacing_between_slices=stack.gap if even else None,
    )


def _description(segment: Segment, algorithm: Algorithm, series: Series) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    identification = None
    if not algorithm.is_manual:
        identification = hd.AlgorithmIdentificationSequence(
            name=label_text(algorithm.name),
            version=label_text(algorithm.version),
            family=codes.DCM.ArtificialIntelligence,
        )
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=label_text(segment.name),
        segmented_property_category=coded(segment.category),
        segmented_property_type=coded(segment.type),
        algorithm_type="MANUAL" if algorithm.is_manual else "AUTOMATIC",
        algorithm_identification=identification,
        anatomic_regions=None if segment.region is None else [coded(segment.region)],
        tracking_uid=tracking_uid(series.attributes["SeriesInstanceUID"], segment.name),
        tracking_id=label_text(segment.name),
        display_color=hd.color.CIELabColor.from_rgb(*segment.color),
    )
    if segment.side is not None and segment.region is not None:
        region = description.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [coded(segment.side)]
    elif segment.side is not None:
        types = description.SegmentedPropertyTypeCodeSequence
        types[0].SegmentedPropertyTypeModifierCodeSequence = [coded(segment.side)]
    return description


def coded(code: Code) -> Any:
    """A code as highdicom takes it."""
    import highdicom as hd

    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _compare(
    written: Path,
    planes: np.ndarray,
    frames: Sequence[Frame],
    segments: Sequence[Segment],
    path: Path,
) -> None:
    """Reads the object and compares every pixel of every segment at its place."""
    back = read_segmentation(written)
    places = _slices_of(back, frames)
    for segment in segments:
        expected = _share(planes, segment.number)
        found = np.zeros_like(expected)
        shares = back.mask_of(segment.number)
        for share, place in zip(shares, places, strict=True):
            found[place] = share
        if np.abs(found - expected).max() > 0.51 / _MAX_FRACTION:
            raise OutputError(
                f"{path}: segment {segment.name!r} read back differs from what was "
                "written; nothing was kept"
            )


def _slices_of(back: Segmentation, frames: Sequence[Frame]) -> list[int]:
    """For each stored place, the number of the image's slice there."""
    own = np.asarray([frame.position for frame in frames], dtype=float)
    numbers = []
    for frame in back.stack.frames:
        distance = np.abs(own - np.asarray(frame.position)).max(axis=1)
        if distance.min() > 1e-2:
            raise OutputError("a plane was read back at a place without a slice")
        numbers.append(int(distance.argmin()))
    return numbers


def _share(planes: np.ndarray, number: int) -> np.ndarray:
    if planes.ndim == 4:
        return np.asarray(planes[..., number - 1])
    return np.asarray(planes == number, dtype=np.float32)


def _counts(planes: np.ndarray, segments: Sequence[Segment]) -> dict[str, int]:
    return {s.name: int((_share(planes, s.number) > 0.5).sum()) for s in segments}
