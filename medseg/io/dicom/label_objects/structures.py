"""DICOM structure sets (RTSTRUCT): regions of interest and their contours."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.errors import InputError, UnreadableFileError
from medseg.io.dicom.elements import DicomDataset, quiet, text_of
from medseg.io.dicom.header import read_header
from medseg.io.dicom.label_objects.references import ImageReferences

_EXCLUSIVE = "CLOSEDPLANAR_XOR"


@dataclass(frozen=True)
class Structure:
    """One region of interest: a name and its closed planar contours.

    Attributes:
        number: ROINumber.
        name: ROIName.
        contours: Each of shape (points, 3), LPS mm.
        is_exclusive: Whether contours of one plane combine by exclusive or.
    """

    number: int
    name: str
    contours: tuple[np.ndarray, ...]
    is_exclusive: bool = False


@dataclass(frozen=True)
class StructureSet:
    """The regions of interest of one object.

    Attributes:
        path: The file.
        references: What it says about the image that it was drawn on.
        structures: In the order of their numbers; those without area left out.
        left_out: Names of regions that are points or open lines.
    """

    path: Path
    references: ImageReferences
    structures: tuple[Structure, ...]
    left_out: tuple[str, ...]


def read_structures(path: Path) -> StructureSet:
    """The structure set in a file.

    Raises:
        InputError: It is no structure set, or it is damaged.
    """
    dataset, _ = read_header(path, wanted=())
    with quiet():
        if text_of(dataset, "Modality") != "RTSTRUCT":
            raise InputError(f"{path}: not a DICOM structure set")
        try:
            return _parse(dataset, path)
        except InputError:
            raise
        except Exception as error:  # elements that cannot be converted
            raise UnreadableFileError(
                f"{path}: the structure set is damaged ({type(error).__name__})"
            ) from error


def structure_names(path: Path) -> tuple[str, ...]:
    """Names of all regions of interest that have an area.

    Raises:
        InputError: The file is no structure set, or it is damaged.
    """
    return tuple(structure.name for structure in read_structures(path).structures)


def _parse(dataset: DicomDataset, path: Path) -> StructureSet:
    names = {
        int(roi.ROINumber): text_of(roi, "ROIName")
        for roi in dataset.get("StructureSetROISequence") or []
    }
    structures, left_out = [], []
    for item in dataset.get("ROIContourSequence") or []:
        number = int(item.ReferencedROINumber)
        name = names.get(number) or f"structure {number}"
        contours, kinds = _closed_contours(item)
        if contours:
            structures.append(Structure(number, name, contours, _EXCLUSIVE in kinds))
        else:
            left_out.append(name)
    return StructureSet(
        path, _references(dataset), _distinct(structures), tuple(left_out)
    )


def _closed_contours(item: DicomDataset) -> tuple[tuple[np.ndarray, ...], set[str]]:
    """Contours that enclose an area, and of which types they are."""
    found, kinds = [], set()
    for contour in item.get("ContourSequence") or []:
        kind = text_of(contour, "ContourGeometricType")
        if kind not in ("CLOSED_PLANAR", _EXCLUSIVE):
            continue
        points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        if not np.isfinite(points).all():
            raise ValueError("ContourData")
        if len(points):
            found.append(points)
            kinds.add(kind)
    return tuple(found), kinds


def _distinct(structures: list[Structure]) -> tuple[Structure, ...]:
    """Structures in the order of their numbers, equal names told apart by these."""
    ordered = sorted(structures, key=lambda s: s.number)
    names = [s.name for s in ordered]
    return tuple(
        s if names.count(s.name) == 1 else replace(s, name=f"{s.name} {s.number}")
        for s in ordered
    )


def _references(dataset: DicomDataset) -> ImageReferences:
    frames = dataset.get("ReferencedFrameOfReferenceSequence") or []
    rois = dataset.get("StructureSetROISequence") or []
    series = [
        item
        for frame in frames
        for study in frame.get("RTReferencedStudySequence") or []
        for item in study.get("RTReferencedSeriesSequence") or []
    ]
    images = [
        image
        for roi in dataset.get("ROIContourSequence") or []
        for contour in roi.get("ContourSequence") or []
        for image in contour.get("ContourImageSequence") or []
    ]
    images += [i for item in series for i in item.get("ContourImageSequence") or []]
    return ImageReferences.of(
        series=[text_of(item, "SeriesInstanceUID") for item in series],
        instances=[text_of(image, "ReferencedSOPInstanceUID") for image in images],
        frames_of_reference=[
            text_of(dataset, "FrameOfReferenceUID"),
            *(text_of(frame, "FrameOfReferenceUID") for frame in frames),
            *(text_of(roi, "ReferencedFrameOfReferenceUID") for roi in rois),
        ],
        patient=text_of(dataset, "PatientID"),
    )
