"""What the text headers of NRRD and MetaImage say beyond what ITK passes on.

ITK drops the units of length, and defaults to 1 mm where no voxel size is given. 3D
Slicer keeps the names of segments in keys such as ``Segment0_Name``; see "Segmentation
file format" of its manual. NRRD: teem.sourceforge.net/nrrd/format.html.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import LabelError
from medseg.io.bytestream import open_file
from medseg.io.geometry_warning import warn_geometry
from medseg.io.units import millimetres_per
from medseg.types import Affine

_LONGEST_HEADER = 1 << 20
_FIELD = re.compile(r"^([^:=]+?)\s*(?::=|:|=)\s*(.*)$")
_SEGMENT = re.compile(r"^segment(\d+)_name$")


@dataclass(frozen=True)
class SlicerSegment:
    """One structure of a 3D Slicer segmentation."""

    name: str
    value: int
    layer: int


@dataclass(frozen=True)
class ItkHeader:
    """Fields of a text header; keys in lower case."""

    path: Path
    fields: dict[str, str]

    @property
    def segments(self) -> tuple[SlicerSegment, ...]:
        """Structures that 3D Slicer names, in the order of their numbers.

        Raises:
            LabelError: A value or layer is no whole number.
        """
        numbers = [m[1] for key in self.fields if (m := _SEGMENT.match(key))]
        return tuple(self._segment(number) for number in sorted(numbers, key=int))

    def scale_mm(self) -> np.ndarray:
        """Millimetres per unit along each world axis; what is unknown is said."""
        text = self.fields.get("space units", self.fields.get("units", ""))
        names = re.findall(r'"([^"]*)"', text) or text.split()
        names = names or [self.fields.get("distanceunits", "")]
        names = [name for name in names if name not in ("", "none", "???", "?")]
        scales = [millimetres_per(name) for name in names[:3]]
        unknown = sorted({n for n, s in zip(names, scales, strict=False) if s is None})
        if unknown:
            warn_geometry(
                self.path,
                f"unit of length {', '.join(unknown)} is unknown; mm is taken",
            )
        if not scales:
            return np.ones(3)
        known = [1.0 if scale is None else scale for scale in scales]
        return np.array((known * 3)[:3] if len(known) < 3 else known)

    def say_what_is_missing(self, spacing: str) -> None:
        """Says that a voxel size or orientation is a default and not the file's.

        Args:
            spacing: The voxel size that ITK gives, in words.
        """
        sizes = ("space directions", "spacings", "elementspacing", "elementsize")
        if not any(key in self.fields for key in sizes):
            warn_geometry(
                self.path,
                f"no voxel size in the header; {spacing} mm is taken",
                guessed=True,
            )
        elif "spacings" in self.fields and "space directions" not in self.fields:
            warn_geometry(
                self.path,
                "no orientation in the header; the axes are taken as right to left, "
                "front to back, feet to head",
                guessed=True,
            )

    def in_millimetres(self, affine_lps: Affine) -> Affine:
        """The affine, which counts in the header's units, in mm."""
        return np.asarray(np.diag([*self.scale_mm(), 1.0]) @ affine_lps)

    def _segment(self, number: str) -> SlicerSegment:
        prefix = f"segment{number}_"
        try:
            return SlicerSegment(
                self.fields[f"{prefix}name"].strip(),
                int(self.fields.get(f"{prefix}labelvalue", int(number) + 1)),
                int(self.fields.get(f"{prefix}layer", 0)),
            )
        except ValueError as error:
            raise LabelError(
                f"{self.path}: {prefix}LabelValue or Layer is no whole number; save "
                "the segmentation again in 3D Slicer"
            ) from error


def read_itk_header(path: Path) -> ItkHeader:
    """The text header of an NRRD or MetaImage file, whatever its length.

    Raises:
        InputError: The file is missing or empty.
    """
    fields: dict[str, str] = {}
    with open_file(path) as stream:
        left = _LONGEST_HEADER
        while left > 0 and (line := stream.readline(left)):
            left -= len(line)
            text = line.decode("utf-8", errors="replace").strip()
            if not text:
                break
            if match := _FIELD.match(text):
                fields[match[1].strip().lower()] = match[2]
            if text.lower().startswith("elementdatafile"):
                break
    return ItkHeader(path, fields)
