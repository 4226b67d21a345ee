"""Telling images to segment from everything else that is stored as DICOM."""

from typing import Any

from medseg.io.dicom.frame import Kind

CAPTURE = "a secondary capture, a picture of a screen or a report"
INCOMPLETE = "the header ends before the size of its image; export it again"
_SEGMENTATION = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
)
_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DIRECTORY = "1.2.840.10008.1.3.10"
_LOCALISERS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
_PICTURES = {"SCREEN SAVE", "MIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE", "VRT"}
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_GREY = {"MONOCHROME1", "MONOCHROME2"}


def kind_of(attributes: dict[str, str], dataset: Any) -> tuple[Kind, str]:
    """What an object is, and why it is not an image to segment (empty if it is)."""
    sop_class = attributes["SOPClassUID"]
    if sop_class in _SEGMENTATION or attributes["Modality"] == "SEG":
        return Kind.SEGMENTATION, "a segmentation, not an image"
    if sop_class == _STRUCTURES or attributes["Modality"] == "RTSTRUCT":
        return Kind.STRUCTURES, "a structure set, not an image"
    if attributes["Modality"] == "RTDOSE":
        return Kind.OTHER, "a dose, not an image"
    if sop_class == _DIRECTORY:
        return Kind.OTHER, "a DICOMDIR, whose files are found without it"
    if "Rows" not in dataset or "Columns" not in dataset:
        if _must_hold_pixels(sop_class):
            return Kind.OTHER, INCOMPLETE
        return Kind.OTHER, "holds no pixels (report, presentation state or the like)"
    image_type = {part.strip().upper() for part in attributes["ImageType"].split("\\")}
    if image_type & _LOCALISERS:
        return Kind.LOCALISER, "a localiser"
    if is_capture(attributes) and not _is_placed(dataset):
        return Kind.DERIVED, CAPTURE
    if image_type & _PICTURES:
        return Kind.DERIVED, f"a derived picture ({attributes['ImageType']})"
    return Kind.IMAGE, _unusable_pixels(dataset)


def is_capture(attributes: dict[str, str]) -> bool:
    """Whether an object says that it was captured from a screen or a film."""
    return attributes["SOPClassUID"].startswith(_SECONDARY_CAPTURE)


def _is_placed(dataset: Any) -> bool:
    """Whether a secondary capture says where it lies, as a converted slice does."""
    if "SharedFunctionalGroupsSequence" in dataset:
        return True
    return all(dataset.get(keyword) for keyword in _PLACE)


def _must_hold_pixels(sop_class: str) -> bool:
    """Whether an object of this class is an image; without a class it was cut off."""
    from pydicom.uid import UID

    return not sop_class or UID(sop_class).name.endswith("Image Storage")


def _unusable_pixels(dataset: Any) -> str:
    """Why an image's pixels cannot be segmented; empty if they can."""
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    if photometric == "PALETTE COLOR":
        return "palette colours, expected one intensity per pixel"
    if photometric not in _GREY:
        return f"colours ({photometric}), expected one intensity per pixel"
    if dataset.get("BitsAllocated") not in (8, 16, 32):
        return f"{dataset.get('BitsAllocated')} bits per pixel, expected 8, 16 or 32"
    if "ModalityLUTSequence" in dataset:
        return "a modality look-up table, expected a rescale slope and intercept"
    return ""
