"""The affine of a NIfTI header, read as the standard, nibabel and ITK read it.

The sform counts where its code is above 0 and it can be used, else the qform, else
the voxel size with the middle of the grid at the origin. What a header leaves wrong
and other programs read nevertheless (a sign of 0, negative voxel sizes, quaternions
longer than 1, pictures without a third voxel size, unknown units) is read and said.
See the NIfTI-1 standard, nifti1.h, and ``nifti_quatern_to_mat44`` of niftilib.
"""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from medseg.errors import GeometryError
from medseg.geometry import Grid, check_affine
from medseg.io.geometry_warning import warn_geometry
from medseg.types import Affine, Shape

NiftiHeader: TypeAlias = Any
"""nibabel's Nifti1Header or Nifti2Header, whose methods carry no types."""

_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By the code in ``xyzt_units``: unknown, which is taken as mm, m, mm and µm."""
_SPATIAL_UNIT = 7
_QUATERNION_TOLERANCE = 3 * float(np.finfo(np.float32).eps)
_NO_LENGTH = 1e-6


def affine_of(header: NiftiHeader, shape: Shape, path: Path) -> Affine:
    """World affine in mm, RAS+; not checked for shear.

    Args:
        header: As it is in the file.
        shape: Voxels along (i, j, k).
        path: File, for what is said.
    """
    notes: list[tuple[str, bool]] = []
    sound = _sound_header(header, shape, notes)
    forms = {
        "sform": _completed(_sform(sound), shape),
        "qform": _completed(_qform(sound), shape),
    }
    name = _chosen(forms, shape, path)
    if name != "sform":
        for note, guessed in notes:
            warn_geometry(path, note, guessed=guessed)
    chosen = forms.get(name)
    affine = sound.get_base_affine() if chosen is None else chosen
    scale = np.diag([*[_unit_mm(header, path)] * 3, 1.0])
    return np.asarray(scale @ np.asarray(affine, dtype=np.float64))


def has_sound_geometry(header: NiftiHeader) -> bool:
    """Whether the fields of the geometry are what the standard allows."""
    pixdim = np.asarray(header["pixdim"], dtype=np.float64)
    rank = int(np.clip(header["dim"][0], 0, 3))
    return bool(
        pixdim[0] in (-1, 1)
        and np.isfinite(pixdim[1 : rank + 1]).all()
        and (pixdim[1 : rank + 1] > 0).all()
        and int(header["xyzt_units"]) & _SPATIAL_UNIT in _MM_PER_UNIT
    )


def _sound_header(
    header: NiftiHeader, shape: Shape, notes: list[tuple[str, bool]]
) -> NiftiHeader:
    """A copy with a sign and positive voxel sizes, as nibabel mends them.

    Each note comes with whether it says what was guessed.
    """

    def add(note: str, *, guessed: bool = False) -> None:
        notes.append((note, guessed))

    sound = header.copy()
    pixdim = np.asarray(header["pixdim"], dtype=np.float64)
    if pixdim[0] not in (-1, 1):
        add(
            f"pixdim[0] is {pixdim[0]:g}, expected 1 or -1; "
            f"{-1 if pixdim[0] < 0 else 1} is taken, as the standard says",
        )
    sound["pixdim"][0] = -1 if pixdim[0] < 0 else 1
    for axis, size in enumerate(pixdim[1:4]):
        length = abs(size) if np.isfinite(size) and size else 1.0
        if length != size and shape[axis] > 1:
            add(
                f"voxel size {size:g} along axis {axis + 1} in the header; "
                f"{length:g} is taken",
                guessed=length != -size,
            )
        sound["pixdim"][axis + 1] = length
    rotation = _quaternion(header)
    if int(header["qform_code"]) > 0 and rotation @ rotation > 1 + 1e-3:
        add(
            f"the quaternion's length is {np.sqrt(rotation @ rotation):.4g}, at most "
            "1 is possible; it is shortened",
        )
    return sound


def _quaternion(header: NiftiHeader) -> np.ndarray:
    return np.array([float(header[f"quatern_{name}"]) for name in "bcd"])


def _sform(header: NiftiHeader) -> Affine | None:
    """The sform; None where its code is 0."""
    if int(header["sform_code"]) <= 0:
        return None
    return np.asarray(header.get_sform(), dtype=np.float64)


def _qform(header: NiftiHeader) -> Affine | None:
    """The qform, a quaternion that is too long made a unit; None where its code is 0.

    The header's sign and voxel sizes must be sound.
    """
    if int(header["qform_code"]) <= 0:
        return None
    rotation = _quaternion(header)
    if not np.isfinite(rotation).all():
        return np.full((4, 4), np.nan)
    length = float(rotation @ rotation)
    if length > 1 + _QUATERNION_TOLERANCE:
        header = header.copy()
        for name, value in zip("bcd", rotation / np.sqrt(length), strict=True):
            header[f"quatern_{name}"] = value
    return np.asarray(header.get_qform(), dtype=np.float64)


def _completed(affine: Affine | None, shape: Shape) -> Affine | None:
    """The affine with 1 mm along an axis of one voxel that has no direction."""
    if affine is None:
        return None
    empty = np.flatnonzero(np.linalg.norm(affine[:3, :3], axis=0) < _NO_LENGTH)
    if len(empty) != 1 or shape[empty[0]] != 1:
        return affine
    axis = int(empty[0])
    normal = np.cross(affine[:3, (axis + 1) % 3], affine[:3, (axis + 2) % 3])
    completed = affine.copy()
    completed[:3, axis] = normal / max(float(np.linalg.norm(normal)), _NO_LENGTH)
    return completed


def _chosen(forms: dict[str, Affine | None], shape: Shape, path: Path) -> str:
    """Which form counts: ``sform``, ``qform``, or neither as an empty text."""
    sform, qform = forms["sform"], forms["qform"]
    if sform is None:
        return "" if qform is None else "qform"
    if qform is None:
        return "sform"
    fault = _fault(sform)
    if fault and not _fault(qform):
        warn_geometry(path, f"the sform is unusable ({fault}), the qform is used")
        return "qform"
    if not fault:
        _compare(sform, qform, shape, path)
    return "sform"


def _fault(affine: Affine) -> str:
    """Why an affine cannot be used; empty where it can."""
    try:
        check_affine(affine)
    except GeometryError as error:
        return str(error)
    return ""


def _compare(sform: Affine, qform: Affine, shape: Shape, path: Path) -> None:
    """Warns where sform and qform place the voxels differently."""
    try:
        difference = Grid(shape, sform).mismatch(Grid(shape, qform))
    except GeometryError as error:
        difference = str(error)
    if difference:
        warn_geometry(
            path, f"sform and qform disagree, the sform is used (qform: {difference})"
        )


def _unit_mm(header: NiftiHeader, path: Path) -> float:
    """Millimetres in the header's unit of length."""
    code = int(header["xyzt_units"]) & _SPATIAL_UNIT
    if code not in _MM_PER_UNIT:
        warn_geometry(
            path, f"unit of length {code} is unknown; mm is taken", guessed=True
        )
    return _MM_PER_UNIT.get(code, 1.0)
