"""Frames of one series that may be slices of one volume, by size and direction."""

from collections.abc import Sequence

from medseg.io.dicom.frame import Frame
from medseg.io.dicom.placing import ORIENTATION, POSITION, SPACING, completed
from medseg.io.dicom.stack import group_by_place

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
