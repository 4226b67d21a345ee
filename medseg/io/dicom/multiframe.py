"""Enhanced multi-frame objects: the frames that their functional groups describe."""

from dataclasses import replace
from typing import Any

from medseg.errors import UnreadableFileError
from medseg.io.dicom.elements import number_of, numbers_of, text_of
from medseg.io.dicom.frame import TRAITS, Frame
from medseg.io.dicom.placing import ORIENTATION, POSITION, SPACING

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
