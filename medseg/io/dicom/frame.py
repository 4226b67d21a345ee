"""What medseg keeps of a DICOM header: a frozen value per frame, and its kind.

A classic slice is a file with one frame, an enhanced multi-frame object a file with
many, a Siemens mosaic a file whose frames are tiles of one picture. Everything after
this module sees frames alone. Positions and directions are in DICOM's LPS world.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import GeometryError


@dataclass(frozen=True)
class Correction:
    """One thing that differs from copying the stored pixels."""

    kind: str
    """One word, such as ``"tilt"``, ``"gaps"``, ``"duplicates"``."""
    detail: str
    """One sentence with its numbers."""
    is_repair: bool = False
    """Whether the series was at fault, so that a strict reader refuses it."""

    def __str__(self) -> str:
        """The word and the sentence."""
        return f"{self.kind}: {self.detail}"


_FARTHEST_MM = 1e6
_SMALLEST_MM = 1e-6
_LEANING = 1e-2

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
PLAIN_SYNTAXES = (IMPLICIT, "1.2.840.10008.1.2.1", BIG_ENDIAN)
"""Transfer syntaxes whose pixels lie in the file as they are."""


PIXEL_ELEMENTS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
"""Bytes with which the pixel data element begins, in either byte order."""


class Kind(Enum):
    """What a DICOM object is to a segmentation tool."""

    IMAGE = "image"
    LOCALISER = "localiser"
    DERIVED = "derived picture"
    SEGMENTATION = "segmentation"
    STRUCTURES = "structure set"
    OTHER = "not an image"


@dataclass(frozen=True)
class PixelLayout:
    """Where and how a file stores its pixels."""

    offset: int
    """Byte at which the pixel data element begins; its value follows the element."""
    syntax: str
    """Transfer syntax UID."""
    num_frames: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    """The highest bit of a stored value, from 0; other bits are no part of it."""
    is_signed: bool
    photometric: str
    samples: int
    padding: int | None
    """PixelPaddingValue, a stored value that means "nothing was measured"."""
    padding_limit: int | None
    """PixelPaddingRangeLimit, the other end of the range of such values."""


@dataclass(frozen=True)
class Frame:
    """One slice: its place in a file and its place in the world."""

    path: Path
    index: int
    """Number of the frame in its file, from 0."""
    tile: tuple[int, int] | None
    """Row and column of the first pixel, for a tile of a mosaic."""
    rows: int
    columns: int
    position: tuple[float, float, float] | None
    """LPS centre of the first pixel in mm; None where the header lacks it."""
    orientation: tuple[float, ...]
    """LPS direction along a row, then along a column."""
    pixel_spacing: tuple[float, float]
    """Distance of rows, then of columns, in mm."""
    slope: float
    intercept: float
    instance: int
    """InstanceNumber, or the number of the frame in its file."""
    sop_uid: str
    traits: tuple[str, ...]
    """Values of `TRAITS`, which may tell volumes of one series apart."""
    pixels: PixelLayout
    lacks: frozenset[str] = frozenset()
    """Elements of its place that the header lacks; see `Placing`."""
    remarks: tuple[Correction, ...] = ()
    """What was taken from elsewhere than where it belongs."""
    is_turned: bool = False
    """Whether its pixels are stored from the last to the first, against the frame's
    own directions."""

    def __post_init__(self) -> None:
        """Refuses geometry that no slice can have."""
        numbers = (*(self.position or ()), *self.orientation, *self.pixel_spacing)
        if not all(math.isfinite(n) and abs(n) < _FARTHEST_MM for n in numbers):
            raise GeometryError(f"{self.path}: positions or directions are no numbers")
        if min(self.pixel_spacing) < _SMALLEST_MM:
            raise GeometryError(f"{self.path}: PixelSpacing is {self.pixel_spacing}")
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)):
            raise GeometryError(f"{self.path}: the rescale is no number")
        row, column = self.orientation[:3], self.orientation[3:]
        lengths = math.hypot(*row), math.hypot(*column)
        across = sum(a * b for a, b in zip(row, column, strict=True))
        if max(abs(n - 1) for n in lengths) > _LEANING or abs(across) > _LEANING:
            raise GeometryError(
                f"{self.path}: ImageOrientationPatient {self.orientation} is not two "
                "directions at a right angle"
            )

    @property
    def row_direction(self) -> np.ndarray:
        """LPS direction in which the column index grows."""
        return np.asarray(self.orientation[:3])

    @property
    def column_direction(self) -> np.ndarray:
        """LPS direction in which the row index grows."""
        return np.asarray(self.orientation[3:])

    @property
    def normal(self) -> np.ndarray:
        """Unit LPS direction across the slice: row direction × column direction."""
        normal = np.cross(self.row_direction, self.column_direction)
        return np.asarray(normal / np.linalg.norm(normal))

    def turned(self) -> "Frame":
        """The same slice, its last pixel taken as the first."""
        assert self.position is not None
        last = (
            np.asarray(self.position)
            + self.row_direction * self.pixel_spacing[1] * (self.columns - 1)
            + self.column_direction * self.pixel_spacing[0] * (self.rows - 1)
        )
        x, y, z = last.tolist()
        return replace(
            self,
            position=(x, y, z),
            orientation=tuple(-value for value in self.orientation),
            is_turned=not self.is_turned,
        )

    def noting(self, remark: Correction) -> "Frame":
        """The frame with one more remark."""
        return replace(self, remarks=(*self.remarks, remark))


@dataclass(frozen=True)
class DicomFile:
    """One DICOM object: what it is, what it says of itself, its frames."""

    path: Path
    kind: Kind
    reason: str
    """Why it is no image to segment, or cannot be read; empty for a usable image."""
    attributes: dict[str, str]
    """Values of `ATTRIBUTES`, as text."""
    frames: tuple[Frame, ...]


TRAITS = (
    "ImageType",
    "EchoNumbers",
    "EchoTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "InversionTime",
    "FlipAngle",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "AcquisitionNumber",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "AcquisitionDateTime",
    "AcquisitionTime",
)
"""What may differ between volumes that share a series, most telling first."""

ATTRIBUTES = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SOPClassUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "StudyDescription",
    "ProtocolName",
    "BodyPartExamined",
    "Manufacturer",
    "ImageType",
    "SliceThickness",
    "ContrastBolusAgent",
    "ConvolutionKernel",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "AccessionNumber",
    "OtherPatientIDs",
)
"""What names a series, and what `--series` rules may ask for."""


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
