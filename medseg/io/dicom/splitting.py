"""Frames of one series, split into the volumes that they really are.

A series may hold several echoes, time points, magnitude and phase, or a localiser.
Geometry splits always. Other elements split only where several frames lie at one
place, which one volume cannot have; a volume whose slices merely differ in such an
element (an acquisition number that counts slices) stays whole.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from medseg.io.dicom.frame import TRAITS, Correction, Frame
from medseg.io.dicom.placing import (
    CROSS_SECTIONS,
    ORIENTATION,
    POSITION,
    SPACING,
    completed,
    is_upright,
)
from medseg.io.dicom.stack import group_by_place, stack_of

_SPACING_SHARE = 1e-3
"""PixelSpacing that differs by less shifts the far edge by under half a pixel."""
_DIRECTION_TOLERANCE = 5e-3


def groups_by_geometry(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames of equal size, spacing and direction, in the order of the first of each.

    Frames that lack one of these join the only group that they may belong to. Slices
    turned by 180 degrees in their plane join those between which they lie.
    """
    partial = {SPACING, ORIENTATION}
    groups: list[list[Frame]] = []
    for frame in frames:
        if frame.lacks & partial:
            continue
        home = next((g for g in groups if _same_geometry(g[0], frame)), None)
        if home is None:
            groups.append([frame])
        else:
            home.append(frame)
    groups = _turned_back(groups)
    strays: list[list[Frame]] = []
    for frame in frames:
        if not frame.lacks & partial:
            continue
        homes = [g for g in (*groups, *strays) if _same_geometry(g[0], frame)]
        if len(homes) == 1:
            homes[0].append(frame)
        else:
            strays.append([frame])
    return [completed(group) for group in (*groups, *strays)]


def _same_geometry(one: Frame, other: Frame) -> bool:
    """Whether two frames may be slices of one volume, by what both of them say."""
    lacks = one.lacks | other.lacks
    return (
        (one.rows, one.columns) == (other.rows, other.columns)
        and (one.position is None) == (other.position is None)
        and (POSITION in one.lacks) == (POSITION in other.lacks)
        and one.pixels.photometric == other.pixels.photometric
        and (
            SPACING in lacks
            or _close(
                one.pixel_spacing,
                other.pixel_spacing,
                _SPACING_SHARE * min(one.pixel_spacing),
            )
        )
        and (
            ORIENTATION in lacks
            or _close(one.orientation, other.orientation, _DIRECTION_TOLERANCE)
        )
    )


def _close(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    return one == other or all(
        abs(a - b) <= tolerance for a, b in zip(one, other, strict=True)
    )


def _turned_back(groups: list[list[Frame]]) -> list[list[Frame]]:
    """Groups that are halves of one volume, the smaller one turned, put together."""
    kept: list[list[Frame]] = []
    for group in groups:
        home = next((g for g in kept if _is_other_half(g, group)), None)
        if home is None:
            kept.append(group)
            continue
        large, small = sorted([home, group], key=_upright_first)
        home[:] = [*large, *(frame.turned() for frame in small)]
    return kept


def _upright_first(group: Sequence[Frame]) -> tuple[int, float]:
    """The larger group first; of equal ones that with rows as most scanners have."""
    return (-len(group), -sum(group[0].orientation))


def _is_other_half(one: Sequence[Frame], other: Sequence[Frame]) -> bool:
    """Whether slices turned by 180 degrees lie between those of another group."""
    if one[0].position is None or other[0].position is None:
        return False
    turned = [frame.turned() for frame in other]
    if not _same_geometry(one[0], turned[0]):
        return False
    return _most([*one, *turned]) == max(_most(one), _most(turned))


def _most(frames: Sequence[Frame]) -> int:
    return max(len(place) for place in group_by_place(frames))


_SHORT = {
    "ImageType": "type",
    "EchoNumbers": "echo",
    "EchoTime": "echo",
    "DiffusionBValue": "b",
    "DiffusionGradientOrientation": "direction",
    "InversionTime": "inversion",
    "FlipAngle": "flip",
    "ConvolutionKernel": "kernel",
    "ContrastBolusAgent": "contrast",
    "AcquisitionNumber": "acquisition",
}
_ACQUISITION = TRAITS.index("AcquisitionNumber")
_APART = 3.0
"""Stations this many slice distances apart are no volume with a gap."""
_OVERLAPPING = 0.75
"""Slices nearer than this share of their thickness overlap."""


@dataclass(frozen=True)
class Part:
    """Frames of one volume, and what tells it from the others of its series."""

    frames: tuple[Frame, ...]
    label: str
    """Such as ``"time03"``; empty for a series that is one volume."""


def split_frames(
    frames: Sequence[Frame], *, modality: str = "", thickness: float = 0.0
) -> list[Part]:
    """The volumes held by distinct frames of one series, named by their differences.

    Args:
        frames: Of one patient and one series.
        modality: Of the series; pictures without a place are volumes of their own
            only where they are no cross-sections.
        thickness: SliceThickness in mm, or 0.
    """
    shapes = groups_by_geometry(frames)
    parts = []
    for number, group in enumerate(shapes, start=1):
        label = f"plane{number:02d}" if len(shapes) > 1 else ""
        if not is_upright(group):
            parts.append(Part(tuple(group), label))  # refused when it is read
        elif group[0].position is None:
            parts += _without_place(group, label, is_section=modality in CROSS_SECTIONS)
        else:
            parts += _by_traits(group, label, set(), thickness)
    return parts


def identity_of(frame: Frame) -> Hashable:
    """A key that is equal for copies of one file under two names.

    An identifier that an anonymiser gave to all slices says nothing alone.
    """
    place = frame.turned().position if frame.is_turned else frame.position
    return (
        frame.sop_uid or str(frame.path),
        frame.index,
        frame.tile,
        place and tuple(round(value, 2) for value in place),
        frame.instance,
    )


def without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """One frame for each object, and the frames of further files of the same object."""
    first: dict[Hashable, Frame] = {}
    copies = []
    for frame in frames:
        if first.setdefault(identity_of(frame), frame) is not frame:
            copies.append(frame)
    return list(first.values()), copies


def _by_traits(
    frames: list[Frame], label: str, used: set[int], thickness: float
) -> list[Part]:
    places = group_by_place(frames)
    most = max(len(place) for place in places)
    if most == 1:
        return _stations(frames, label, thickness)
    folders = _folders_that_tell(places, most)
    for number in range(len(TRAITS)):
        if number in used or not _tells_apart(places, number, most):
            continue
        if folders and not _keeps_folders(frames, number):
            continue  # what lies in two folders is not mixed by an element
        return _by_trait(frames, number, label, used | {number}, thickness)
    by_turn = _by_turn(places, most, label) if _all_have(places, most) else []
    if folders and not all(map(_has_an_order, places)):
        by_turn = []
    if folders and not (by_turn and all(map(_is_in_one_folder, by_turn))):
        return _by_folder(frames, folders, label, used, thickness)
    # Without parts the reader looks whether the frames at a place are copies.
    return by_turn or [Part(tuple(frames), label)]


def _has_an_order(place: Sequence[Frame]) -> bool:
    """Whether InstanceNumber says which frame at a place is the first."""
    return len({frame.instance for frame in place}) == len(place)


def _all_have(places: list[list[Frame]], most: int) -> bool:
    return all(len(place) == most for place in places)


def _tells_apart(places: list[list[Frame]], trait: int, most: int) -> bool:
    """Whether an element's values are as few as the volumes, and differ at a place."""
    values = {frame.traits[trait] for place in places for frame in place}
    return 2 <= len(values) <= most and any(
        len({frame.traits[trait] for frame in place}) > 1 for place in places
    )


def _folders_that_tell(places: list[list[Frame]], most: int) -> tuple[Path, ...]:
    """Folders each of which holds whole volumes of its own; empty if none do.

    At one place each folder has equally many frames, as two exports or two patients
    have under identifiers that an anonymiser made equal.
    """
    folders = tuple(sorted({frame.path.parent for p in places for frame in p}))
    if len(folders) < 2 or most % len(folders):
        return ()
    share = most // len(folders)
    counts = {
        sum(frame.path.parent == folder for frame in place)
        for place in places
        for folder in folders
    }
    return folders if counts <= {0, share} else ()


def _keeps_folders(frames: Sequence[Frame], trait: int) -> bool:
    """Whether all frames with one value of an element lie in one folder."""
    homes: dict[str, set[Path]] = {}
    for frame in frames:
        homes.setdefault(frame.traits[trait], set()).add(frame.path.parent)
    return all(len(home) == 1 for home in homes.values())


def _is_in_one_folder(part: Part) -> bool:
    return len({frame.path.parent for frame in part.frames}) == 1


def _by_folder(
    frames: list[Frame],
    folders: Sequence[Path],
    label: str,
    used: set[int],
    thickness: float,
) -> list[Part]:
    text = f"{len(folders)} folders hold slices of one series at the same places"
    remark = Correction("folders", text, is_repair=True)
    parts = []
    for number, folder in enumerate(folders, start=1):
        chosen = [f.noting(remark) for f in frames if f.path.parent == folder]
        name = _joined(label, f"folder{number:02d}")
        parts += _by_traits(chosen, name, used, thickness)
    return parts


def _by_trait(
    frames: list[Frame], trait: int, label: str, used: set[int], thickness: float
) -> list[Part]:
    values = sorted({frame.traits[trait] for frame in frames}, key=_natural)
    parts = []
    for number, value in enumerate(values, start=1):
        chosen = [frame for frame in frames if frame.traits[trait] == value]
        name = f"{_SHORT.get(TRAITS[trait], 'time')}{number:02d}"
        parts += _by_traits(chosen, _joined(label, name), used, thickness)
    return parts


def _by_turn(places: list[list[Frame]], most: int, label: str) -> list[Part]:
    """Time points in the order of InstanceNumber, where no other element tells."""
    ordered = [sorted(place, key=_reading_order) for place in places]
    return [
        Part(
            tuple(place[turn] for place in ordered),
            _joined(label, f"time{turn + 1:02d}"),
        )
        for turn in range(most)
    ]


def _stations(frames: list[Frame], label: str, thickness: float) -> list[Part]:
    """Slices one at each place: one volume, unless acquisitions say otherwise.

    Acquisitions are volumes of their own where they lie far apart, or where their
    slices, side by side, would overlap.
    """
    whole = [Part(tuple(frames), label)]
    values = sorted({frame.traits[_ACQUISITION] for frame in frames}, key=_natural)
    if not 2 <= len(values) <= len(frames) // 2:
        return whole
    groups = [[f for f in frames if f.traits[_ACQUISITION] == v] for v in values]
    if min(map(len, groups)) < 2:
        return whole
    stacks = sorted(map(stack_of, groups), key=lambda stack: stack.heights[0])
    if not all(stack.is_even for stack in stacks):
        return whole
    gap = max(stack.gap for stack in stacks)
    apart = [
        after.heights[0] - before.heights[-1] for before, after in pairwise(stacks)
    ]
    overlap = stack_of(frames).gap < _OVERLAPPING * thickness <= gap
    if min(apart) <= _APART * gap and not overlap:
        return whole
    return [
        Part(tuple(group), _joined(label, f"acquisition{number:02d}"))
        for number, group in enumerate(groups, start=1)
    ]


def _without_place(frames: list[Frame], label: str, *, is_section: bool) -> list[Part]:
    """Frames without a place: each a picture of its own, unless they are slices."""
    if len(frames) == 1 or is_section:
        return [Part(tuple(frames), label)]
    ordered = sorted(frames, key=_reading_order)
    return [
        Part((frame,), _joined(label, f"image{number:03d}"))
        for number, frame in enumerate(ordered, start=1)
    ]


def _joined(label: str, name: str) -> str:
    return "-".join(filter(None, [label, name]))


def _reading_order(frame: Frame) -> tuple[int, str]:
    return (frame.instance, frame.sop_uid)


def _natural(text: str) -> tuple[float, str]:
    try:
        return (float(text), text)
    except ValueError:
        return (float("inf"), text)
