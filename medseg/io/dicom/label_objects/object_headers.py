"""What a DICOM object of labels says about its source and its maker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg import __version__
from medseg.errors import InputError, UnreadableFileError
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


@dataclass(frozen=True)
class Algorithm:
    """Identification of what made the labels; a person where it is manual."""

    name: str = "medseg"
    """Such as the name of the model folder."""
    version: str = __version__
    """Such as the hash of the model."""
    is_manual: bool = False


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
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        except Exception as error:  # a parser fed with damaged bytes
            raise UnreadableFileError(
                f"{path}: its header is damaged ({type(error).__name__})"
            ) from error
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
