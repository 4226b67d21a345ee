"""Files that hold several slices: enhanced objects, plain multi-frame files, mosaics.

Frames of an enhanced object are described by its functional groups. Those of a plain
multi-frame file (NM, and CT or MR of old) lie on a line from the first: offsets, slice
numbers or one distance say where; frames that are no slices (films, projections) are
set aside.

A Siemens mosaic holds slices as tiles of one picture. Their number and direction stand
in the private CSA header, which nibabel parses. ImagePositionPatient is wrong in a
mosaic: it is where the corner would be if the large picture were one slice with the
same centre (nibabel, doc/source/dicom/dicom_mosaic.rst).
"""

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from medseg.errors import GeometryError, UnreadableFileError
from medseg.io.dicom.elements import (
    DicomDataset,
    all_numbers_of,
    number_of,
    numbers_of,
    text_of,
)
from medseg.io.dicom.frame import TRAITS, Correction, Frame
from medseg.io.dicom.placing import CROSS_SECTIONS, ORIENTATION, POSITION, SPACING

_TRAIT_PLACES = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "AcquisitionDateTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
}
_OFFSETS = ("GridFrameOffsetVector", "SliceLocationVector")
_SLICES = "SliceVector"
_OTHER_VECTORS = (
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "TimeSliceVector",
)
_PROJECTIONS = ("RotationVector", "AngularViewVector")
FRAME_VECTORS = (*_OFFSETS, _SLICES, *_OTHER_VECTORS, *_PROJECTIONS)
"""Elements with a number for each frame, which FrameIncrementPointer may name."""
_TIMES = ("FrameTime", "FrameTimeVector")


def is_enhanced(dataset: Any) -> bool:
    """Whether the frames are described by functional groups."""
    return "PerFrameFunctionalGroupsSequence" in dataset


def enhanced_frames(dataset: Any, base: Frame) -> tuple[Frame, ...]:
    """One frame for each item of the per-frame functional groups.

    Raises:
        UnreadableFileError: Their number is not the number of frames.
    """
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if len(groups) != base.pixels.num_frames:
        raise UnreadableFileError(
            f"{base.path}: {len(groups)} frames described, "
            f"{base.pixels.num_frames} expected"
        )
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), None)
    return tuple(
        _frame(base, index, [group, shared]) for index, group in enumerate(groups)
    )


def _frame(base: Frame, index: int, places: list[Any]) -> Frame:
    plane = _group(places, "PlanePositionSequence")
    turned = _group(places, "PlaneOrientationSequence")
    measures = _group(places, "PixelMeasuresSequence")
    rescale = _group(places, "PixelValueTransformationSequence")
    position = numbers_of(plane, "ImagePositionPatient", 3)
    spacing = numbers_of(measures, "PixelSpacing", 2)
    turn = numbers_of(turned, "ImageOrientationPatient", 6)
    traits = list(base.traits)
    for number, name in enumerate(TRAITS):
        if name in _TRAIT_PLACES:
            sequence, keyword = _TRAIT_PLACES[name]
            traits[number] = (
                text_of(_group(places, sequence), keyword) or traits[number]
            )
    found = {POSITION: position, ORIENTATION: turn, SPACING: spacing}
    return replace(
        base,
        index=index,
        position=(position[0], position[1], position[2]) if position else base.position,
        orientation=turn or base.orientation,
        pixel_spacing=(spacing[0], spacing[1]) if spacing else base.pixel_spacing,
        slope=number_of(rescale, "RescaleSlope", base.slope),
        intercept=number_of(rescale, "RescaleIntercept", base.intercept),
        instance=index,
        traits=tuple(traits),
        lacks=base.lacks - {name for name, value in found.items() if value},
        remarks=() if position and spacing else base.remarks,
    )


def _group(places: list[Any], keyword: str) -> Any:
    """The first item of a functional group, of the frame or shared; else empty."""
    for place in places:
        if place is not None and place.get(keyword):
            return place[keyword].value[0]
    return {}


def not_slices(dataset: DicomDataset, num_frames: int) -> str:
    """Why the frames of a file are no slices of a volume; empty if they may be."""
    if num_frames < 2 or is_enhanced(dataset):
        return ""
    named = _named_vectors(dataset)
    modality = text_of(dataset, "Modality")
    if named & set(_PROJECTIONS):
        return f"{num_frames} projections from several angles, not slices"
    is_placed = bool(named & {*_OFFSETS, _SLICES})
    if modality == "NM" and not is_placed:
        return f"{num_frames} planar pictures, not slices"
    is_stack = modality in CROSS_SECTIONS or is_placed or _has_step(dataset)
    if named & set(_TIMES) or not is_stack:
        return f"{num_frames} pictures of a film, not slices"
    return ""


def plain_frames(dataset: DicomDataset, first: Frame) -> tuple[Frame, ...]:
    """One frame for each of a file's, on a line from the first.

    Raises:
        GeometryError: Nothing says where the frames lie.
    """
    count = first.pixels.num_frames
    heights, remark = _heights(dataset, count, first)
    start = np.zeros(3) if first.position is None else np.asarray(first.position)
    groups = _groups(dataset, count)
    remarks = (*first.remarks, remark)
    if first.position is None:
        text = "no ImagePositionPatient: the first slice lies at the origin"
        remarks = (*remarks, Correction("place", text, is_repair=True))
    trait = TRAITS.index("TemporalPositionIdentifier")
    frames = []
    for index in range(count):
        x, y, z = (start + first.normal * heights[index]).tolist()
        traits = list(first.traits)
        traits[trait] = groups[index] or traits[trait]
        frames.append(
            replace(
                first,
                index=index,
                position=(x, y, z),
                instance=index,
                traits=tuple(traits),
                remarks=remarks,
            )
        )
    return tuple(frames)


def _heights(
    dataset: DicomDataset, count: int, first: Frame
) -> tuple[np.ndarray, Correction]:
    """How far along the normal each frame lies from the first, in mm."""
    for keyword in _OFFSETS:
        offsets = np.asarray(all_numbers_of(dataset, keyword))
        if len(offsets) == count:
            text = f"{count} frames of one file lie at their {keyword}"
            return offsets - offsets[0], Correction("frames", text)
    order = np.asarray(numbers_of(dataset, _SLICES, count) or range(1, count + 1)) - 1
    spacing = number_of(dataset, "SpacingBetweenSlices", 0.0)
    thickness = number_of(dataset, "SliceThickness", 0.0)
    for keyword, step in (
        ("SpacingBetweenSlices", spacing),
        ("SliceThickness", thickness),
    ):
        if step and np.isfinite(step):
            text = f"{count} frames of one file lie {abs(step):g} mm apart ({keyword})"
            guessed = keyword == "SliceThickness"
            return order * step, Correction("frames", text, is_repair=guessed)
    raise GeometryError(
        f"{first.path}: multi-frame without positions: {count} frames and neither "
        "functional groups, offsets, a slice distance nor a thickness; export it as "
        "single slices or as an enhanced object"
    )


def _groups(dataset: DicomDataset, count: int) -> list[str]:
    """What tells frames at one place apart, such as the phases of a gated study."""
    named = _named_vectors(dataset)
    vectors = [
        numbers
        for keyword in _OTHER_VECTORS
        if keyword in named and (numbers := numbers_of(dataset, keyword, count))
    ]
    varying = [numbers for numbers in vectors if len(set(numbers)) > 1]
    return ["-".join(f"{int(v[n]):03d}" for v in varying) for n in range(count)]


def _named_vectors(dataset: DicomDataset) -> set[str]:
    """What FrameIncrementPointer names."""
    from pydicom.datadict import keyword_for_tag

    value = dataset.get("FrameIncrementPointer")
    if value is None:
        return set()
    tags = value if isinstance(value, (list, tuple)) else [value]
    if type(value).__name__ == "MultiValue":
        tags = list(value)
    return {keyword_for_tag(tag) for tag in tags}


def _has_step(dataset: DicomDataset) -> bool:
    """Whether a first position and a distance make slices of unnamed frames."""
    return bool(
        numbers_of(dataset, "ImagePositionPatient", 3)
        and number_of(dataset, "SpacingBetweenSlices", 0.0)
    )


def is_mosaic(image_type: str) -> bool:
    """Whether ImageType, its values joined by backslashes, says MOSAIC."""
    return "MOSAIC" in image_type.upper().split("\\")


def mosaic_frames(dataset: object, whole: Frame) -> tuple[Frame, ...]:
    """One frame for each tile.

    Raises:
        UnreadableFileError: The private header that says how many tiles there are is
            missing, as anonymisation may leave it.
    """
    count, normal = _csa(dataset, whole)
    across = math.ceil(math.sqrt(count))
    rows, columns = whole.rows // across, whole.columns // across
    gap = getattr(dataset, "SpacingBetweenSlices", None)
    gap = float(gap if gap else getattr(dataset, "SliceThickness", 1.0))
    assert whole.position is not None
    corner = (
        np.asarray(whole.position)
        + whole.row_direction * whole.pixel_spacing[1] * (whole.columns - columns) / 2
        + whole.column_direction * whole.pixel_spacing[0] * (whole.rows - rows) / 2
    )
    frames = []
    for tile in range(count):
        x, y, z = (corner + normal * gap * tile).tolist()
        frames.append(
            replace(
                whole,
                index=0,
                tile=((tile // across) * rows, (tile % across) * columns),
                rows=rows,
                columns=columns,
                position=(x, y, z),
            )
        )
    return tuple(frames)


def _csa(dataset: object, whole: Frame) -> tuple[int, np.ndarray]:
    """Number of tiles and the direction in which they are stacked."""
    with warnings.catch_warnings():  # the whole package calls itself experimental
        warnings.simplefilter("ignore", UserWarning)
        from nibabel.nicom import csareader

    try:
        header = csareader.get_csa_header(dataset, "image")  # type: ignore[no-untyped-call]
        count = csareader.get_n_mosaic(header) if header else None  # type: ignore[no-untyped-call]
        normal = csareader.get_slice_normal(header) if header else None  # type: ignore[no-untyped-call]
    except Exception as error:  # a private binary block, parsed as far as known
        raise UnreadableFileError(
            f"{whole.path}: a Siemens mosaic whose private header cannot be read"
        ) from error
    if not count or not 1 <= count <= 4096 or whole.position is None:
        raise UnreadableFileError(
            f"{whole.path}: a Siemens mosaic without the private header that says how "
            "many slices it holds; export it with private elements kept"
        )
    return int(count), whole.normal if normal is None else np.asarray(normal)
