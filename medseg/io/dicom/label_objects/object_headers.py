"""What a DICOM object of labels says about its source and its maker."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from medseg import __version__
from medseg.errors import InputError, UnreadableFileError
from medseg.io.dicom.elements import DicomDataset, quiet
from medseg.io.dicom.frame import Frame

_NEEDED = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
)
_NEEDED_FOR_PLACES = ("FrameOfReferenceUID",)
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


RESEARCH_USE = "research use only"
_LONG_STRING = 64
"""Characters of an element of type LO."""


def series_description(algorithm: Algorithm, what: str) -> str:
    """What a viewer's list shows: who made it, what it is, that it is for research.

    Args:
        algorithm: Its maker, whose name is cut short where it is long.
        what: Such as ``"segmentation"``.
    """
    rest = f" {what} ({RESEARCH_USE})"
    name = re.sub(r"[\\\x00-\x1f]", " ", algorithm.name).strip()
    return f"{name[: _LONG_STRING - len(rest)]}{rest}"


def label_text(name: str, *, room: int = 0) -> str:
    """A structure's name as elements of 64 characters hold it.

    Args:
        name: Of the structure.
        room: Characters to leave for what follows.
    """
    return re.sub(r"[\\\r\n]", " ", name)[: _LONG_STRING - room]


def tracking_uid(series_uid: str, structure: str) -> str:
    """A UID that a structure of a series keeps, whatever is made of it, and when.

    Args:
        series_uid: SeriesInstanceUID of the image.
        structure: Name of the structure.
    """
    return f"2.25.{uuid5(NAMESPACE_OID, f'{series_uid} {structure}').int}"


def character_set(texts: Sequence[str], source: DicomDataset) -> str | list[str] | None:
    """The source's character set, or Unicode where one of our texts needs another.

    Args:
        texts: What is written beside the source's own elements.
        source: The header that patient and study are copied from.
    """
    plain = all(text.isascii() for text in texts)
    return source.get("SpecificCharacterSet") if plain else "ISO_IR 192"


def series_number_beside(number: str, *, step: int = 1000) -> int:
    """A number of a series beside an image's, as viewers sort by it.

    Args:
        number: SeriesNumber of the image, as text.
        step: How far away.
    """
    return (int(number) if number.isdigit() else 0) % 100000 + step


def source_headers(
    frames: Sequence[Frame], *, has_places: bool = True
) -> list[DicomDataset]:
    """The headers of the frames' files, one per file, in the frames' order.

    Elements that the standard requires but lets be empty are added where a file
    lacks them.

    Args:
        frames: Of the series.
        has_places: Whether the object says where in space something lies, for which
            it needs the frame of reference.

    Raises:
        InputError: A file lacks an element that must have a value.
    """
    paths = list(dict.fromkeys(frame.path for frame in frames))
    needed = _NEEDED + (_NEEDED_FOR_PLACES if has_places else ())
    return [_header(path, needed) for path in paths]


def _header(path: Path, needed: Sequence[str]) -> DicomDataset:
    import pydicom

    with quiet():
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        except Exception as error:  # a parser fed with damaged bytes
            raise UnreadableFileError(
                f"{path}: its header is damaged ({type(error).__name__})"
            ) from error
        for keyword in needed:
            if not dataset.get(keyword):
                raise InputError(
                    f"{path}: {keyword} is missing, which a DICOM object made from it "
                    "must carry"
                )
        for keyword in _MAY_BE_EMPTY:
            if keyword not in dataset:
                setattr(dataset, keyword, None)
        _state_deidentification(dataset)
    return dataset


def _state_deidentification(dataset: DicomDataset) -> None:
    """Says that no method is said where identity was removed (type 1C, PS3.3 C.7.1)."""
    said = dataset.get("DeidentificationMethod") or dataset.get(
        "DeidentificationMethodCodeSequence"
    )
    if dataset.get("PatientIdentityRemoved") == "YES" and not said:
        dataset.DeidentificationMethod = "not stated in the image"
