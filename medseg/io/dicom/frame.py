"""What medseg keeps of a DICOM header: one frozen value per frame.

A classic slice is a file with one frame, an enhanced multi-frame object a file with
many, a Siemens mosaic a file whose frames are tiles of one picture. Everything after
this module sees frames alone. Positions and directions are in DICOM's LPS world.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError
from medseg.io.dicom.correction import Correction

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
