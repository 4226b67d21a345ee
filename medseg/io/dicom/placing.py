"""Where the slice of a file lies: what the header says, and what it lacks.

Position, directions and spacing are taken from wherever writers put them. What is not
there is not invented: it is named in `lacks`; slices of the same volume make up for it,
or the volume is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.errors import GeometryError
from medseg.io.dicom.elements import DicomDataset, all_numbers_of, numbers_of, text_of
from medseg.io.dicom.frame import Correction, Frame

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
_UPRIGHT = 1e-2


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
    detectors = dataset.get("DetectorInformationSequence") or []
    detector: DicomDataset = next(iter(detectors), {})
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


def completed(frames: Sequence[Frame]) -> list[Frame]:
    """Frames of one volume, with what some lack taken from the others."""
    result = list(frames)
    for element in (SPACING, ORIENTATION):
        whole = next((f for f in result if element not in f.lacks), None)
        count = sum(element in frame.lacks for frame in result)
        if whole is None or not count:
            continue
        text = f"{count} slices lack {element}; that of the others is taken"
        remark = Correction("header", text, is_repair=True)
        result = [
            _with(frame, whole, element, remark) if element in frame.lacks else frame
            for frame in result
        ]
    return result


def place_remarks(frames: Sequence[Frame], modality: str) -> list[Correction]:
    """What had to be taken from elsewhere to say where a volume's slices lie.

    Raises:
        GeometryError: The size of a voxel, or the directions of its axes, are not
            known.
    """
    said = list(dict.fromkeys(remark for f in frames for remark in f.remarks))
    first = frames[0]
    is_placed = first.position is not None
    if SPACING in first.lacks:
        if is_placed or modality in CROSS_SECTIONS:
            raise GeometryError(
                "PixelSpacing is absent or empty, so that the size of a voxel is not "
                "known; add it to the headers or export the series again"
            )
        text = "no PixelSpacing: 1 mm is taken"
        said.append(Correction("spacing", text, is_repair=True))
    if ORIENTATION in first.lacks and is_placed:
        said.append(_axial(frames))
    spacings = np.asarray([frame.pixel_spacing for frame in frames])
    varies = float(np.ptp(spacings, axis=0).max())
    if varies > 0:
        text = f"PixelSpacing varies by {varies:.2g} mm; that of the first is taken"
        said.append(Correction("spacing", text))
    return said


def _with(frame: Frame, whole: Frame, element: str, remark: Correction) -> Frame:
    """A frame with one element of a whole one, which it lacks."""
    known = replace(frame, lacks=frame.lacks - {element}).noting(remark)
    if element == SPACING:
        return replace(known, pixel_spacing=whole.pixel_spacing)
    return replace(known, orientation=whole.orientation)


def is_upright(frames: Sequence[Frame]) -> bool:
    """Whether frames without directions may be axial slices, by their positions."""
    first = frames[0]
    if ORIENTATION not in first.lacks or first.position is None:
        return True
    along = np.ptp(
        np.asarray([frame.position for frame in frames], dtype=float), axis=0
    )
    return bool(along[:2].max() <= _UPRIGHT * max(along[2], 1.0))


def _axial(frames: Sequence[Frame]) -> Correction:
    """The remark that slices are taken to be axial, which their positions bear out.

    Raises:
        GeometryError: The positions advance in another direction.
    """
    if not is_upright(frames):
        raise GeometryError(
            "ImageOrientationPatient is absent, and the positions do not advance from "
            "foot to head as those of axial slices do; add it to the headers"
        )
    text = "no ImageOrientationPatient: axial slices are taken, from right to left"
    return Correction("orientation", text, is_repair=True)
