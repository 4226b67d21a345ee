"""The header of a TIFF: its chain of pages, and the size of its voxels.

Sources of the voxel size, in the order in which they count: nnU-Net's JSON beside the
file (``spacing`` along (z, y, x), no unit, taken as mm), medseg's own note, OME's
metadata and ImageJ's. A printer's resolution (inches, no unit) says nothing of what is
shown and is not used.

References:
    OME-TIFF: https://docs.openmicroscopy.org/ome-model/latest/
    nnU-Net: documentation/dataset_format.md, "TIFF".
"""

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

from medseg.errors import GeometryError, UnreadableFileError
from medseg.geometry import affine_from_spacing, spacing_of
from medseg.io.formats import scan_stem
from medseg.io.geometry_warning import warn_geometry
from medseg.io.units import millimetres_per
from medseg.types import Affine

_FORMATS = {b"*": ("H", "I", 12), b"+": ("Q", "Q", 20)}
"""Type of the number of entries, type of a place and bytes of an entry, in a classic
TIFF and in a BigTIFF."""


def require_ending_chain(path: Path) -> None:
    """Refuses a TIFF whose pages point back to an earlier one.

    Each page names the place of the next; where a damaged file leads in a circle,
    decoders follow it for minutes.

    Raises:
        UnreadableFileError: The chain of pages does not end.
    """
    seen: set[int] = set()
    with path.open("rb") as stream:
        kind = stream.read(8)
        order = {b"II": "<", b"MM": ">"}.get(kind[:2], "=")
        formats = _FORMATS.get(kind[2:4].strip(b"\0"))
        if formats is None:
            return  # the decoder says what it is
        count, place, entry_bytes = formats
        stream.seek(8 if place == "Q" else 4)
        where = _number(stream, order + place)
        while where:
            if where in seen:
                raise UnreadableFileError(
                    f"{path}: its pages point to one another in a circle (at byte "
                    f"{where}); the file is damaged, copy or save it again"
                )
            seen.add(where)
            stream.seek(where)
            entries = _number(stream, order + count)
            stream.seek(entries * entry_bytes, 1)
            where = _number(stream, order + place)


def _number(stream: BinaryIO, kind: str) -> int:
    """The number that comes next; 0, the end of the chain, at the end of the file."""
    data = stream.read(struct.calcsize(kind))
    if len(data) < struct.calcsize(kind):
        return 0
    return int(struct.unpack(kind, data)[0])


SPACING_KEY = "spacing_mm"
"""In the description of a TIFF that medseg wrote: voxel size along (i, j, k)."""

_CHANNEL = "_0000"
_Sizes = tuple[float | None, float | None, float | None]


def tiff_affine(path: Path) -> Affine:
    """The voxel size as an affine; the identity where none is said.

    Raises:
        GeometryError: A voxel size is not a positive number.
    """
    import tifffile

    sizes = _beside(path)
    if sizes is None:
        with tifffile.TiffFile(path) as tiff:
            sizes = _own(tiff) or _of_ome(tiff, path) or _of_imagej(tiff, path)
    if sizes is None or sizes[0] is None:
        return np.eye(4)
    i = sizes[0]
    j, k = (i if size is None else size for size in sizes[1:])
    if not all(np.isfinite(size) and size > 0 for size in (i, j, k)):
        raise GeometryError(
            f"{path}: voxel size {i:g} x {j:g} x {k:g} mm in the metadata, expected "
            "positive numbers"
        )
    return affine_from_spacing((i, j, k))


def _beside(path: Path) -> _Sizes | None:
    """What nnU-Net's JSON beside the file says, along (i, j, k)."""
    for sidecar in notes_beside(path):
        spacing = _noted_spacing(sidecar) if sidecar.is_file() else None
        if spacing is None:
            continue
        try:
            k, j, i = (float(size) for size in spacing)
        except (ValueError, TypeError):
            warn_geometry(
                path,
                f"{sidecar.name} beside it: spacing is not [z, y, x]; 1 is taken",
                guessed=True,
            )
            continue
        return i, j, k
    return None


def size_note(affine: Affine | None) -> dict[str, Any]:
    """What a TIFF of ours says of its voxel size; nothing for the identity."""
    if affine is None or np.array_equal(affine, np.eye(4)):
        return {}
    return {SPACING_KEY: list(spacing_of(affine))}


def notes_beside(path: Path) -> list[Path]:
    """Where nnU-Net's JSON of a TIFF may lie, the one that counts first."""
    stem = scan_stem(path)
    names = {stem, stem[: -len(_CHANNEL)] if stem[-5:-4] == "_" else stem}
    ordered = sorted(names, key=len, reverse=True)
    return [path.with_name(f"{name}.json") for name in ordered]


def _noted_spacing(sidecar: Path) -> Any:
    """What a JSON file holds under ``spacing``; None where it holds none."""
    try:
        values = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    return values.get("spacing") if isinstance(values, dict) else None


def _own(tiff: Any) -> _Sizes | None:
    notes = tiff.shaped_metadata
    noted = notes[0].get(SPACING_KEY) if notes else None
    return None if noted is None else (noted[0], noted[1], noted[2])


def _of_ome(tiff: Any, path: Path) -> _Sizes | None:
    """Physical sizes of the first image; µm where no unit is named, as OME says."""
    if not tiff.is_ome:
        return None
    root = ElementTree.fromstring(tiff.ome_metadata)
    pixels = next((e for e in root.iter() if e.tag.endswith("Pixels")), None)
    if pixels is None:
        return None
    sizes = [_ome_size(pixels.attrib, axis, path) for axis in "XYZ"]
    return sizes[0], sizes[1], sizes[2]


def _ome_size(values: dict[str, str], axis: str, path: Path) -> float | None:
    name = f"PhysicalSize{axis}"
    if name not in values:
        return None
    scale = _scale(values.get(f"{name}Unit", "µm"), path)
    return None if scale is None else float(values[name]) * scale


def _of_imagej(tiff: Any, path: Path) -> _Sizes | None:
    """ImageJ's pixels per unit, and its distance of planes."""
    if not tiff.is_imagej:
        return None
    values = tiff.imagej_metadata or {}
    unit = str(values.get("unit", ""))
    if unit in ("", "pixel", "pixels"):
        return None
    scale = _scale(unit, path)
    if scale is None:
        return None
    tags = tiff.pages[0].tags
    i, j = (_length(tags, name, scale) for name in ("XResolution", "YResolution"))
    plane = values.get("spacing")
    return i, j, None if plane is None else abs(float(plane)) * scale


def _length(tags: Any, name: str, scale: float) -> float | None:
    """Length of a pixel of which a tag counts how many there are per unit."""
    if name not in tags:
        return None
    count, per = tags[name].value
    return per / count * scale if count else None


def _scale(unit: str, path: Path) -> float | None:
    """Millimetres in a unit; an unknown one is said."""
    scale = millimetres_per(unit)
    if scale is None:
        warn_geometry(
            path,
            f"unit of length {unit!r} is unknown; the voxel size is not used",
            guessed=True,
        )
    return scale
