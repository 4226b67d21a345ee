"""A series as a volume, with a record of everything that was not plain copying."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError, InputError, UnreadableFileError
from medseg.geometry import lps_from_ras
from medseg.io.dicom.frame import Correction, Frame, is_capture
from medseg.io.dicom.pixels import (
    inverted,
    measured_values,
    padded_pixels,
    stored_values,
)
from medseg.io.dicom.placing import place_remarks
from medseg.io.dicom.series import Series, SeriesTree, find_series
from medseg.io.dicom.splitting import identity_of
from medseg.io.dicom.stack import (
    Stack,
    fill_gaps,
    group_by_place,
    stack_of,
    thickness_of,
    undo_tilt,
)
from medseg.io.dicom.suv import suv_scale
from medseg.io.geometry_warning import settle_affine, warn_geometry
from medseg.types import Affine
from medseg.volume import Volume

_FLICKER_PX = 0.1
"""Slices that start no farther beside each other lie in line."""
_INVERTIBLE = {"CR", "DX", "MG", "RG", "XA", "RF", "IO", "PX", "US", "OT"}


@dataclass(frozen=True)
class DicomScan:
    """A volume read from a series.

    Attributes:
        volume: Measured values (HU for CT), axes i = column, j = row, k = slice.
        stack: The frames as stored, in order along the normal.
        corrections: What was repaired, resampled or decided; empty for a plain copy.
    """

    volume: Volume
    stack: Stack
    corrections: tuple[Correction, ...]


def read_series(
    series: Series, *, strict: bool = False, allow_shear: bool = False
) -> DicomScan:
    """The volume of a series.

    Args:
        series: One volume, as `find_series` gives it.
        strict: Whether a series that needs repair (tilt, gaps, duplicates) is
            refused instead.
        allow_shear: Whether a tilted stack keeps its voxels on a sheared grid
            instead of being resampled.

    Raises:
        InputError: The series is set aside, damaged, or no volume can be made of it.
    """
    if series.reason:
        raise InputError(f"{series}: {series.reason}")
    corrections: list[Correction] = []
    try:
        corrections += place_remarks(series.frames, series.attributes["Modality"])
        stack = _ordered(series, corrections)
        voxels = _voxels(series, stack, corrections)
        voxels, affine = _gridded(series, stack, voxels, corrections, allow_shear)
    except GeometryError as error:
        raise GeometryError(f"{series}: {error}") from error
    repairs = [correction for correction in corrections if correction.is_repair]
    if strict and repairs:
        raise GeometryError(
            f"{series}: refused as strict: {'; '.join(map(str, repairs))}"
        )
    affine = settle_affine(affine, source=series.folder, allow_shear=allow_shear)
    return DicomScan(Volume(voxels[None], affine), stack, tuple(corrections))


def _ordered(series: Series, corrections: list[Correction]) -> Stack:
    """One frame for each place, sorted along the normal."""
    if series.copies:
        _require_same_pixels(series)
        text = f"{len(series.copies)} further copies of files were left out"
        corrections.append(Correction("copies", text))
    if len(series.frames) == 1:
        return stack_of(series.frames)
    places = group_by_place(series.frames)
    repeated = [place for place in places if len(place) > 1]
    for place in repeated:
        _require_copies(place)
    if repeated:
        extra = sum(len(place) - 1 for place in repeated)
        text = f"{extra} slices repeat the pixels of another at their place"
        corrections.append(Correction("duplicates", text, is_repair=True))
    return stack_of([place[0] for place in places])


def _require_same_pixels(series: Series) -> None:
    """Refuses files that call themselves the same object and differ."""
    kept = {identity_of(frame): frame for frame in series.frames}
    for copy in series.copies:
        first = kept[identity_of(copy)]
        same_size = (first.rows, first.columns) == (copy.rows, copy.columns)
        pair = stored_values([first, copy]) if same_size else None
        if pair is None or not np.array_equal(pair[0], pair[1]):
            raise GeometryError(
                f"{copy.path.name} and {first.path.name} carry the "
                "same SOPInstanceUID and differ; remove the damaged one"
            )


def _require_copies(place: list[Frame]) -> None:
    values = stored_values(place)
    if not (values == values[0]).all():
        raise GeometryError(
            f"{len(place)} different slices lie at one place and no element tells "
            "them apart; separate them into series"
        )


def _voxels(series: Series, stack: Stack, corrections: list[Correction]) -> np.ndarray:
    """Measured values, shape (I, J, K)."""
    stored = stored_values(stack.frames)
    corrections += _storage_remarks(series, stack)
    padding = padded_pixels(stack.frames, stored)
    modality = series.attributes["Modality"]
    if stack.frames[0].pixels.photometric == "MONOCHROME1":
        if modality in _INVERTIBLE:
            stored = inverted(stack.frames, stored)
            corrections.append(Correction("inverted", "MONOCHROME1: white is low"))
        else:
            text = f"values of {modality} are kept, only their display is inverted"
            corrections.append(Correction("monochrome1", text))
    values = measured_values(stack.frames, stored)
    if padding is not None and modality == "CT" and not padding.all():
        lowest = values[~padding].min()
        if not (values[padding] == lowest).all():
            values = values.copy() if values is stored else values
            values[padding] = lowest
            text = f"{int(padding.sum())} unmeasured pixels take the lowest, {lowest}"
            corrections.append(Correction("padding", text))
    if modality == "PT":
        values = _uptake(stack, values, corrections)
    return values.transpose(2, 1, 0)


def _storage_remarks(series: Series, stack: Stack) -> list[Correction]:
    """What is unusual about how the pixels are stored."""
    said = []
    if is_capture(series.attributes):
        text = "stored as secondary captures, whose positions make a stack"
        said.append(Correction("class", text))
    layout = stack.frames[0].pixels
    if layout.high_bit != layout.bits_stored - 1:
        text = (
            f"HighBit is {layout.high_bit} with {layout.bits_stored} bits stored: "
            "values are shifted down where the bits below are empty"
        )
        said.append(Correction("bits", text))
    turned = sum(frame.is_turned for frame in stack.frames)
    if turned:
        text = f"{turned} slices lie turned by 180 degrees and were turned back"
        said.append(Correction("turned", text))
    return said


def _uptake(
    stack: Stack, values: np.ndarray, corrections: list[Correction]
) -> np.ndarray:
    """PET activity as SUV where the header allows, else as stored."""
    scale = suv_scale(stack.frames[0].path)
    if scale.factor is None:
        corrections.append(Correction("activity", f"no SUV: {scale.detail}"))
        return values
    corrections.append(Correction("suv", scale.detail))
    return (values * scale.factor).astype(np.float32)


def _gridded(
    series: Series,
    stack: Stack,
    voxels: np.ndarray,
    corrections: list[Correction],
    allow_shear: bool,  # noqa: FBT001
) -> tuple[np.ndarray, Affine]:
    """Voxels on an even grid, straight unless a shear is allowed."""
    if len(stack.frames) == 1:
        return voxels, _single(series, stack, corrections)
    _require_one_line(stack)
    affine_lps = lps_from_ras(stack.affine())
    moved = float(np.abs(stack.drift).max())
    if stack.is_tilted and moved <= _FLICKER_PX:
        text = f"slices start up to {moved:.2g} pixels beside each other"
        corrections.append(Correction("flicker", text))
        span = stack.heights[-1] - stack.heights[0]
        affine_lps[:3, 2] = stack.frames[0].normal * span / (len(stack.frames) - 1)
    elif stack.is_tilted and not (allow_shear and stack.is_even):
        degrees = np.degrees(np.arctan(stack.tilt))
        text = f"slices shifted by a tilt of {degrees:.2f} degrees were put in line"
        corrections.append(Correction("tilt", text, is_repair=True))
        voxels, before = undo_tilt(voxels, stack)
        span = stack.heights[-1] - stack.heights[0]
        affine_lps[:3, 2] = stack.frames[0].normal * span / (len(stack.frames) - 1)
        affine_lps[:3, 3] -= affine_lps[:3, :2] @ np.asarray(before)
    if not stack.is_even:
        gaps = stack.gaps
        voxels, step = fill_gaps(voxels, stack)
        affine_lps[:3, 2] *= step / np.linalg.norm(affine_lps[:3, 2])
        text = (
            f"{len(stack.frames)} slices {gaps.min():.4g} to {gaps.max():.4g} mm apart "
            f"were interpolated to {voxels.shape[2]} slices {step:.4g} mm apart"
        )
        corrections.append(Correction("gaps", text, is_repair=True))
    return voxels, lps_from_ras(affine_lps)


def _require_one_line(stack: Stack) -> None:
    """Refuses slices whose in-plane shifts do not grow evenly along the normal."""
    heights = np.asarray(stack.heights) - stack.heights[0]
    share = heights / heights[-1]
    bend = np.abs(stack.drift - share[:, None] * stack.drift[-1]).max()
    if bend > max(_FLICKER_PX, 0.02 * np.abs(stack.drift).max()):
        raise GeometryError(
            f"slices leave their common line by {bend:.3g} pixels; they belong to "
            "several acquisitions, or their positions are wrong"
        )


def _single(series: Series, stack: Stack, corrections: list[Correction]) -> Affine:
    """The affine of one slice, as thick as its header says."""
    if stack.frames[0].position is None:
        corrections.append(Correction("place", "the header gives no position"))
    thickness = thickness_of(series.attributes)
    if thickness is None and stack.frames[0].position is not None:
        corrections.append(Correction("thickness", "no SliceThickness: 1 mm is taken"))
    return stack.affine(thickness=thickness or 1.0)


def read_dicom(path: Path, *, allow_shear: bool = False) -> Volume:
    """The one volume in a folder of DICOM files, or in one multi-frame file.

    What had to be repaired (tilt, gaps, duplicates) is issued as a
    `GeometryWarning`.

    Raises:
        InputError: No volume is there, or several are; the message names them.
    """
    scan = read_series(only_volume(find_series(path), path), allow_shear=allow_shear)
    for correction in scan.corrections:
        if correction.is_repair:
            warn_geometry(path, str(correction))
    return scan.volume


def only_volume(tree: SeriesTree, path: Path) -> Series:
    """The one readable volume of a tree.

    Raises:
        InputError: None is there, or several are, or a file is unreadable.
    """
    if tree.unreadable:
        more = len(tree.unreadable) - 1
        others = f" ({more} other files too)" if more else ""
        raise UnreadableFileError(f"{tree.unreadable[0].reason}{others}")
    if len(tree.volumes) == 1:
        return tree.volumes[0]
    if tree.volumes:
        found = "; ".join(str(series) for series in tree.volumes[:10])
        raise InputError(
            f"{path}: {len(tree.volumes)} volumes, expected one: {found}; give the "
            "folder of one, or convert them with `medseg convert`"
        )
    if tree.series:
        found = "; ".join(f"{s}: {s.reason}" for s in tree.series[:5])
        raise InputError(f"{path}: no DICOM image to segment: {found}")
    raise InputError(f"{path}: no DICOM file in it")
