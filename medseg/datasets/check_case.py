"""What is wrong with one case, found by reading all of its files."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from medseg.datasets.case import Case
from medseg.datasets.check_label import RIM_VALUE, check_label_map, is_rim
from medseg.datasets.finding import Finding, FindingKind
from medseg.errors import (
    ONE_AXIS,
    GeometryError,
    InputError,
    LabelError,
    MissingFileError,
)
from medseg.geometry import Grid
from medseg.io.label_reading import label_map_of
from medseg.labels import LabelScheme
from medseg.reading import read_named_labels, read_volume
from medseg.volume import Volume

T = TypeVar("T")


@dataclass
class CheckedCase:
    """What was found out about a case, for comparison with the others."""

    case: Case
    findings: list[Finding] = field(default_factory=list)
    channel_hashes: list[str] = field(default_factory=list)
    """Of the voxels of each channel that could be read; empty for constant ones."""
    grid: Grid | None = None
    """Of the first image that could be read."""
    label_hash: str = ""
    label_values: tuple[int, ...] = ()
    label_names: dict[str, int] = field(default_factory=dict)
    """Value of each structure that the label map's own file names."""
    has_rim: bool = False
    """Whether 255 lies along the borders of structures and nowhere else."""
    labelled_share: float = 0.0
    """Share of the voxels that belong to a structure."""

    def add(self, finding: Finding) -> None:
        """Takes down a finding."""
        self.findings.append(finding)


def check_case(
    case: Case, *, channels: tuple[str, ...], scheme: LabelScheme
) -> CheckedCase:
    """Everything that is wrong with a case; never raises for a bad file."""
    facts = CheckedCase(case)
    volumes = [
        (path, _attempt(partial(read_volume, path), path, facts))
        for path in case.images
    ]
    readable = [(path, volume) for path, volume in volumes if volume is not None]
    for path, volume in readable:
        for finding in _check_image(path, volume, case):
            facts.add(finding)
        facts.channel_hashes += [
            "" if _is_constant(channel) else hash_voxels(channel)
            for channel in volume.voxels
        ]
    facts.grid = readable[0][1].grid if readable else None
    for finding in _check_channels(readable, case, channels, facts.channel_hashes):
        facts.add(finding)
    if case.label is not None:
        _check_label(case, case.label, scheme, facts)
    return facts


def _check_label(
    case: Case, path: Path, scheme: LabelScheme, facts: CheckedCase
) -> None:
    """The label map as preparing reads it, against the scheme and the image's grid."""
    drawn = scheme.without(case.unannotated)
    read = partial(read_named_labels, path, scheme=drawn)
    labels = _attempt(read, path, facts)
    if labels is None:
        return
    place = partial(label_map_of, labels, path, drawn, facts.grid)
    label_map = _attempt(place, path, facts)
    if label_map is None:
        return
    voxels = label_map.voxels
    values, findings = check_label_map(
        case, path, voxels, scheme, stored_as=labels.stored_as
    )
    facts.findings += findings
    facts.label_hash = hash_voxels(voxels)
    facts.label_values = values
    facts.label_names = labels.names
    facts.labelled_share = float(np.mean(voxels != scheme.background))
    if RIM_VALUE in values:  # noise is no structure that a rim could border on
        known = np.isin(voxels, scheme.values)
        facts.has_rim = is_rim(np.where(known, voxels, scheme.background))
    if facts.grid is not None:
        facts.findings += _compare(facts.grid, path, label_map.grid, case, "label map")


def hash_channels(path: Path) -> tuple[str, ...]:
    """A hash of each channel of a file; none where it cannot be read."""
    try:
        return tuple(hash_voxels(channel) for channel in read_volume(path).voxels)
    except Exception:  # noqa: BLE001 - a file that belongs to no case is no obstacle
        return ()


def hash_voxels(voxels: np.ndarray) -> str:
    """A hash of the values, whatever type they are stored in, and of the shape."""
    digest = hashlib.blake2b(str(voxels.shape).encode(), digest_size=16)
    for slab in voxels:
        digest.update(np.ascontiguousarray(slab, dtype=np.float32).data)
    return digest.hexdigest()


def _attempt(read: Callable[[], T], path: Path, facts: CheckedCase) -> T | None:
    """What a reader returns; None where it fails, which is taken down."""
    case_id = facts.case.case_id
    try:
        return read()
    except MissingFileError as error:
        repair = "restore the file, or take the case out of the data set"
        kind: FindingKind = "missing"
        message = str(error)
    except GeometryError as error:
        repair = "repair the header, or export the scan anew"
        kind, message = "geometry", str(error)
    except LabelError as error:
        repair = "export one whole number per voxel, without interpolation"
        kind, message = "label values", str(error)
    except InputError as error:
        repair = "copy the file again from its source; it is damaged or no image"
        kind, message = "unreadable", str(error)
    except Exception as error:  # noqa: BLE001 - one bad file must not stop the others
        repair = "copy the file again from its source; no reader expects this"
        kind, message = "unreadable", f"{path}: {type(error).__name__}: {error}"
    message = message.removeprefix(f"{path}: ")
    facts.add(Finding(case_id, path, kind, message, repair, "error"))
    return None


def _check_image(path: Path, volume: Volume, case: Case) -> Iterator[Finding]:
    voxels = volume.voxels
    bad = 0
    if voxels.dtype.kind == "f":
        bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
    if bad:
        yield Finding(
            case.case_id,
            path,
            "not finite",
            f"{bad} of {voxels.size} voxels are NaN or infinite",
            "export the scan anew, or set these voxels to the background's intensity",
            "error",
        )
    if sum(size > 1 for size in volume.grid.shape) == 1:
        yield Finding(
            case.case_id,
            path,
            "one axis",
            f"a line of {' × '.join(map(str, volume.grid.shape))} voxels; {ONE_AXIS}",
            "take the case out",
            "error",
        )
    for number, channel in enumerate(voxels):
        if _is_constant(channel):
            which = f"channel {number} is" if len(voxels) > 1 else "all voxels are"
            yield Finding(
                case.case_id,
                path,
                "constant",
                f"{which} {channel.flat[0]:g} everywhere",
                "export the scan anew, or take the case out",
                "error",
            )


def _check_channels(
    readable: list[tuple[Path, Volume]],
    case: Case,
    channels: tuple[str, ...],
    hashes: list[str],
) -> Iterator[Finding]:
    found = sum(volume.num_channels for _, volume in readable)
    gray = found == 1 and set(channels) == {"red", "green", "blue"}
    gray |= len(channels) == 1 and found == 3 and _is_gray_picture(readable, hashes)
    if len(readable) == len(case.images) and found != len(channels) and not gray:
        yield Finding(
            case.case_id,
            case.images[0],
            "channels",
            f"{found} channels, expected {len(channels)} ({', '.join(channels)})",
            "add the missing channel, or take the case out"
            if found < len(channels)
            else "name all channels, or keep the wanted ones in the file",
            "error",
        )
    for path, volume in readable[1:]:
        first = readable[0][1].grid
        yield from _compare(first, path, volume.turned_to(first).grid, case, "channel")
    twins = _equal_pairs(hashes)
    if twins and not _is_gray_picture(readable, hashes):
        names = [
            " and ".join(_name(number, channels) for number in pair) for pair in twins
        ]
        yield Finding(
            case.case_id,
            case.images[0],
            "equal channels",
            f"channels {', '.join(names)} hold the same voxels",
            "find the scan that was meant; a copy adds nothing",
            "warning",
        )


def _equal_pairs(hashes: list[str]) -> list[tuple[int, int]]:
    return [
        (hashes.index(value), number)
        for number, value in enumerate(hashes)
        if value and hashes.index(value) < number
    ]


def _is_gray_picture(readable: list[tuple[Path, Volume]], hashes: list[str]) -> bool:
    """Whether a case is one colour picture whose three channels are equal."""
    picture = len(readable) == 1 and readable[0][1].voxels.shape[-1] == 1
    return picture and len(set(hashes)) == 1


def _is_constant(channel: np.ndarray) -> bool:
    return bool(channel.min() == channel.max())


def _name(number: int, channels: tuple[str, ...]) -> str:
    return channels[number] if number < len(channels) else str(number)


def _compare(
    expected: Grid, path: Path, found: Grid, case: Case, what: str
) -> list[Finding]:
    """How the grid of a label map or channel differs from the first image's."""
    difference = expected.mismatch(found)
    if not difference:
        return []
    kinds: tuple[FindingKind, ...] = ("shape", "spacing", "origin", "direction")
    kind = next(kind for kind in kinds if difference.startswith(kind))
    if kind == "shape":
        repair = (
            f"is the {what} another scan's? If both show the same field of view, "
            f"resample the {what} onto the image's grid"
        )
    else:
        repair = (
            f"shapes agree: if an overlay without headers fits, give the {what} the "
            "image's header; if not, resample it onto the image's grid"
        )
    return [Finding(case.case_id, path, kind, difference, repair, "error")]
