"""Slices whose headers lack a part of their place, beside slices that have it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medseg.errors import GeometryError
from medseg.io.dicom.correction import Correction
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.placing import CROSS_SECTIONS, ORIENTATION, SPACING

_UPRIGHT = 1e-2


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
    kept = (
        {"pixel_spacing": whole.pixel_spacing}
        if element == SPACING
        else {"orientation": whole.orientation}
    )
    return replace(
        frame,
        lacks=frame.lacks - {element},
        remarks=(*frame.remarks, remark),
        **kept,
    )


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
