"""Where the slice of a file lies: what the header says, and what it lacks.

Position, directions and spacing are taken from wherever writers put them. What is not
there is not invented: it is named in `lacks`, and the reader of the whole series says
whether its other slices make up for it.
"""

from dataclasses import dataclass

import numpy as np

from medseg.io.dicom.correction import Correction
from medseg.io.dicom.elements import DicomDataset, all_numbers_of, numbers_of, text_of

POSITION = "ImagePositionPatient"
ORIENTATION = "ImageOrientationPatient"
SPACING = "PixelSpacing"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CROSS_SECTIONS = frozenset({"CT", "MR", "PT", "NM"})
"""Modalities whose pictures are slices of a volume."""

_OTHER_SPACINGS = {
    "ImagerPixelSpacing": "the detector",
    "NominalScannedPixelSpacing": "the film",
}


@dataclass(frozen=True)
class Placing:
    """What a header says about the place of its pixels.

    Attributes:
        position: LPS centre of the first pixel in mm; None where it is not known.
        orientation: LPS direction along a row, then along a column; axial where it
            is not known.
        pixel_spacing: Distance of rows, then of columns, in mm; 1 where it is not
            known.
        lacks: Elements that are not known.
        remarks: What was taken from elsewhere.
    """

    position: tuple[float, float, float] | None
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    lacks: frozenset[str]
    remarks: tuple[Correction, ...]


def placing_of(dataset: DicomDataset) -> Placing:
    """Where the first, or only, slice of a file lies.

    Raises:
        ValueError: Elements do not hold numbers.
    """
    is_section = text_of(dataset, "Modality") in CROSS_SECTIONS
    detector = next(iter(dataset.get("DetectorInformationSequence") or []), {})
    turned = numbers_of(dataset, ORIENTATION, 6) or numbers_of(detector, ORIENTATION, 6)
    position = numbers_of(dataset, POSITION, 3) or numbers_of(detector, POSITION, 3)
    spacing, remarks = _spacing(dataset, is_section=is_section)
    known = {POSITION: position, ORIENTATION: turned, SPACING: spacing}
    lacks = frozenset(name for name, value in known.items() if not value)
    if not position and (turned or is_section):
        position, remark = _from_location(dataset, turned or AXIAL)
        remarks += remark
    return Placing(
        position=(position[0], position[1], position[2]) if position else None,
        orientation=turned or AXIAL,
        pixel_spacing=(spacing[0], spacing[1]) if spacing else (1.0, 1.0),
        lacks=lacks,
        remarks=tuple(remarks),
    )


def _spacing(
    dataset: DicomDataset, *, is_section: bool
) -> tuple[tuple[float, ...], list[Correction]]:
    """Distance of rows and columns, and where it was found if not in PixelSpacing."""
    found = all_numbers_of(dataset, SPACING)
    if len(found) == 2:
        return found, []
    if len(found) == 1:
        text = f"PixelSpacing holds one value, {found[0]:g}: taken for rows and columns"
        return found * 2, [Correction("spacing", text, is_repair=True)]
    for keyword, where in _OTHER_SPACINGS.items():
        if other := numbers_of(dataset, keyword, 2):
            text = f"no PixelSpacing: {keyword} is used, as measured at {where}"
            return other, [Correction("spacing", text, is_repair=is_section)]
    return (), []


def _from_location(
    dataset: DicomDataset, orientation: tuple[float, ...]
) -> tuple[tuple[float, ...], list[Correction]]:
    """The position that SliceLocation gives along the normal; empty without it."""
    height = numbers_of(dataset, "SliceLocation", 1)
    if not height:
        return (), []
    normal = np.cross(orientation[:3], orientation[3:])
    text = (
        "no ImagePositionPatient: slices lie at their SliceLocation, with the first "
        "pixel on the axis"
    )
    x, y, z = (normal * height[0]).tolist()
    return (x, y, z), [Correction("place", text, is_repair=True)]
