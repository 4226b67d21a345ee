"""Whole headers of a series' files, for the objects that are filed with them."""

from collections.abc import Sequence
from pathlib import Path

from medseg.errors import InputError
from medseg.io.dicom.elements import DicomDataset, quiet
from medseg.io.dicom.frame import Frame

_NEEDED = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "FrameOfReferenceUID",
)
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "SeriesNumber",
    "Laterality",
    "PositionReferenceIndicator",
)
"""Elements that a copy must have and the standard lets be empty (type 2)."""


def source_headers(frames: Sequence[Frame]) -> list[DicomDataset]:
    """The headers of the frames' files, one per file, in the frames' order.

    Elements that the standard requires but lets be empty are added where a file
    lacks them.

    Raises:
        InputError: A file lacks an element that must have a value.
    """
    paths = list(dict.fromkeys(frame.path for frame in frames))
    return [_header(path) for path in paths]


def _header(path: Path) -> DicomDataset:
    import pydicom

    with quiet():
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for keyword in _NEEDED:
            if not dataset.get(keyword):
                raise InputError(
                    f"{path}: {keyword} is missing, which a DICOM object made from it "
                    "must carry"
                )
        for keyword in _MAY_BE_EMPTY:
            if keyword not in dataset:
                setattr(dataset, keyword, None)
    return dataset
