"""Several frames in one file without functional groups: NM, and CT or MR of old.

Their places follow from the first frame's and from offsets, slice numbers or one
distance. Frames that are no slices (films, projections) are set aside.
"""

from dataclasses import replace

import numpy as np

from medseg.errors import GeometryError
from medseg.io.dicom.correction import Correction
from medseg.io.dicom.elements import (
    DicomDataset,
    all_numbers_of,
    number_of,
    numbers_of,
    text_of,
)
from medseg.io.dicom.frame import TRAITS, Frame
from medseg.io.dicom.multiframe import is_enhanced
from medseg.io.dicom.placing import CROSS_SECTIONS

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
