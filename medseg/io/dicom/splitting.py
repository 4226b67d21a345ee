"""Frames of one series, split into the volumes that they really are.

A series may hold several echoes, time points, magnitude and phase, or a localiser.
Geometry splits always. Other elements split only where several frames lie at one
place, which one volume cannot have; a volume whose slices merely differ in such an
element (an acquisition number that counts slices) stays whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.io.dicom.frame import TRAITS, Frame
from medseg.io.dicom.stack import group_by_place

_SPACING_TOLERANCE_MM = 1e-4
_DIRECTION_TOLERANCE = 5e-3
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


@dataclass(frozen=True)
class Part:
    """Frames of one volume, and what tells it from the others of its series."""

    frames: tuple[Frame, ...]
    label: str
    """Such as ``"time03"``; empty for a series that is one volume."""


def split_frames(frames: Sequence[Frame]) -> list[Part]:
    """The volumes held by distinct frames of one series, named by their differences."""
    shapes = _by_geometry(frames)
    parts = []
    for number, group in enumerate(shapes, start=1):
        label = f"plane{number:02d}" if len(shapes) > 1 else ""
        parts += _by_traits(group, label, set())
    return parts


def identity_of(frame: Frame) -> tuple[str, int, tuple[int, int] | None]:
    """The same for copies of one file under two names."""
    return (frame.sop_uid or str(frame.path), frame.index, frame.tile)


def _by_geometry(frames: Sequence[Frame]) -> list[list[Frame]]:
    groups: list[list[Frame]] = []
    for frame in frames:
        home = next((g for g in groups if _same_geometry(g[0], frame)), None)
        if home is None:
            groups.append([frame])
        else:
            home.append(frame)
    return groups


def _same_geometry(one: Frame, other: Frame) -> bool:
    return (
        (one.rows, one.columns) == (other.rows, other.columns)
        and (one.position is None) == (other.position is None)
        and one.pixels.photometric == other.pixels.photometric
        and _close(one.pixel_spacing, other.pixel_spacing, _SPACING_TOLERANCE_MM)
        and _close(one.orientation, other.orientation, _DIRECTION_TOLERANCE)
    )


def _close(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    return one == other or all(
        abs(a - b) <= tolerance for a, b in zip(one, other, strict=True)
    )


def _by_traits(frames: list[Frame], label: str, used: set[int]) -> list[Part]:
    if frames[0].position is None:
        return _one_by_one(frames, label)
    places = group_by_place(frames)
    most = max(len(place) for place in places)
    if most == 1:
        return [Part(tuple(frames), label)]
    for number in range(len(TRAITS)):
        if number not in used and _tells_apart(places, number, most):
            return _by_trait(frames, number, label, used | {number})
    if all(len(place) == most for place in places):
        return _by_turn(places, most, label)
    return [Part(tuple(frames), label)]  # the reader looks whether these are copies


def _tells_apart(places: list[list[Frame]], trait: int, most: int) -> bool:
    """Whether an element's values are as few as the volumes, and differ at a place."""
    values = {frame.traits[trait] for place in places for frame in place}
    return 2 <= len(values) <= most and any(
        len({frame.traits[trait] for frame in place}) > 1 for place in places
    )


def _by_trait(
    frames: list[Frame], trait: int, label: str, used: set[int]
) -> list[Part]:
    values = sorted({frame.traits[trait] for frame in frames}, key=_natural)
    parts = []
    for number, value in enumerate(values, start=1):
        chosen = [frame for frame in frames if frame.traits[trait] == value]
        name = f"{_SHORT.get(TRAITS[trait], 'time')}{number:02d}"
        parts += _by_traits(chosen, "-".join(filter(None, [label, name])), used)
    return parts


def _by_turn(places: list[list[Frame]], most: int, label: str) -> list[Part]:
    """Time points in the order of InstanceNumber, where no other element tells."""
    ordered = [sorted(place, key=lambda f: (f.instance, f.sop_uid)) for place in places]
    return [
        Part(
            tuple(place[turn] for place in ordered),
            "-".join(filter(None, [label, f"time{turn + 1:02d}"])),
        )
        for turn in range(most)
    ]


def _one_by_one(frames: list[Frame], label: str) -> list[Part]:
    """Frames without a place: each a picture of its own."""
    if len(frames) == 1:
        return [Part(tuple(frames), label)]
    ordered = sorted(frames, key=lambda frame: (frame.instance, frame.sop_uid))
    return [
        Part((frame,), "-".join(filter(None, [label, f"image{number:03d}"])))
        for number, frame in enumerate(ordered, start=1)
    ]


def _natural(text: str) -> tuple[float, str]:
    try:
        return (float(text), text)
    except ValueError:
        return (float("inf"), text)


def without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """One frame for each object, and the frames of further files of the same object."""
    first: dict[object, Frame] = {}
    copies = []
    for frame in frames:
        if first.setdefault(identity_of(frame), frame) is not frame:
            copies.append(frame)
    return list(first.values()), copies
