"""What a model's training scans were like: kept in its folder, to judge others by.

    training_ranges.json   beside model.yaml; folders of older versions lack it

Only numbers over cases, the mean picture of each channel in 8 x 8 x 8 blocks among
them; no name of a case or patient.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from medseg.errors import ModelError, SettingsError
from medseg.settings import Record

FILE = "training_ranges.json"
VERSION = 2
"""Of the file: 2 tells channels apart pair by pair. A newer one is left alone, and
nothing is checked."""

ScanKind: TypeAlias = Literal[
    "spacing",
    "extent",
    "directions",
    "quantile",
    "rim",
    "layout",
    "correlation",
    "order",
    "arrangement",
]
"""``order`` is no longer measured; folders of 2026 may hold its range."""
FindingKind: TypeAlias = Literal[
    "volume", "components", "absent", "objects", "object_size"
]
Kind: TypeAlias = ScanKind | FindingKind
Family: TypeAlias = Literal["geometry", "intensities", "order", "findings"]
"""Kinds that share a limit."""


class MeasureRange(Record):
    """Where a measure of a scan, or of what was found in it, lay in training."""

    kind: Kind
    """What was measured; see `medseg.plausibility`."""
    of: tuple[str, ...] = ()
    """Of which axis, channels, quantile or structure."""
    low: float
    """5th percentile over training cases, in the measure's own unit."""
    high: float
    """95th percentile."""


class Limit(Record):
    """How far outside its range a measure may lie before a scan is suspect."""

    excess: float
    """Largest distance from the range, in widths of the range."""
    num_patients: int = 0
    """Patients whose scans it was calibrated on; 0: none, a fixed limit."""
    false_alarm_bound: float | None = None
    """Largest expected share of patients like these whose scan is called suspect."""


class ChannelProfile(Record):
    """What the channel of a typical training scan looks like."""

    mean: tuple[float, ...]
    """Mean over cases of the ranks of intensities in blocks, then of quantiles."""
    spread: tuple[float, ...] = ()
    """Deviation over cases, in folders of version 1; no longer used."""


class ChannelPair(Record):
    """What tells two channels apart, and how well it does."""

    of: tuple[str, str]
    """The channels."""
    direction: tuple[float, ...]
    """Fisher's discriminant; see `medseg.plausibility.channel_pairs`."""
    num_noticed: int = 0
    """Scans that would be called suspect with the two swapped, by limits and
    directions of other patients."""
    num_scans: int = 0
    """Scans that this was tried on."""

    @property
    def is_told_apart(self) -> bool:
        """Whether most scans would be called suspect with the two swapped."""
        return 2 * self.num_noticed > self.num_scans

    def describe(self) -> str:
        """How often a swap would be noticed, in words."""
        names = f"{self.of[0]} and {self.of[1]}"
        counted = f"{self.num_noticed} of {self.num_scans}"
        if self.is_told_apart:
            return f"{names} {counted}"
        return f"{names} cannot be told apart here ({counted})"


class TrainingRanges(Record):
    """Everything that a scan and what was found in it are compared with."""

    version: int = VERSION
    """Of the file's layout."""
    num_cases: int
    """Cases that were measured."""
    ranges: tuple[MeasureRange, ...]
    """Of scans and of label maps."""
    profiles: tuple[ChannelProfile, ...]
    """One for each channel."""
    pairs: tuple[ChannelPair, ...] = ()
    """Of channels; folders of older versions lack them: their order is not checked."""
    limits: dict[Family, Limit]
    """How far beyond its range a measure of each family may lie."""
    num_judged: int = 0
    """Held-out patients who were judged by limits that the others gave."""
    num_false_alarms: int = 0
    """Those of them whose scan was called suspect."""

    def describe(self) -> str:
        """The false alarms to expect, in one sentence."""
        text = f"compared with {self.num_cases} cases"
        if self.num_judged:
            text += (
                f"; {self.num_false_alarms} of {self.num_judged} held-out patients "
                "would be called suspect by limits that the others gave"
            )
        bounds = [
            f"{family} {100 * limit.false_alarm_bound:.1f} % "
            f"({limit.num_patients} patients)"
            for family, limit in self.limits.items()
            if limit.false_alarm_bound is not None and (self.pairs or family != "order")
        ]
        if bounds:
            text += "; of patients like these are called suspect at most, by each: "
            text += ", ".join(bounds)
        if self.pairs:
            text += "; swapped channels would be noticed in so many scans: "
            text += ", ".join(pair.describe() for pair in self.pairs)
        elif len(self.profiles) > 1:
            text += "; the order of channels is not checked"
        return text


def read_ranges(folder: Path) -> TrainingRanges | None:
    """The training ranges of a model folder; None where it has none that can be used.

    Raises:
        ModelError: The file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] > VERSION:
            return None
        return TrainingRanges.model_validate_json(json.dumps(values))
    except (OSError, ValueError, KeyError, TypeError, SettingsError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: cannot be read as training ranges: {reason}; copy the model "
            "folder again, or delete the file: scans are then not checked"
        ) from error


def joint_ranges(ranges: Sequence[TrainingRanges | None]) -> TrainingRanges | None:
    """Ranges for models that predict together: the widest of all.

    None where one has none, or where they measured different things.
    """
    known = [one for one in ranges if one is not None]
    if len(known) < len(ranges) or not known:
        return None
    first = known[0]
    if len(known) == 1:
        return first
    if len({_names(one) for one in known}) > 1:
        return None
    return first.replaced(
        num_cases=max(one.num_cases for one in known),
        ranges=tuple(map(_widest, zip(*(one.ranges for one in known), strict=True))),
        limits={
            family: max((one.limits[family] for one in known), key=_excess)
            for family in first.limits
        },
        num_judged=sum(one.num_judged for one in known),
        num_false_alarms=sum(one.num_false_alarms for one in known),
    )


def _names(ranges: TrainingRanges) -> tuple[tuple[str, ...], ...]:
    """What was measured and limited, to tell whether models measured the same."""
    return (
        *((one.kind, *one.of) for one in ranges.ranges),
        tuple(sorted(ranges.limits)),
    )


def _widest(same: Sequence[MeasureRange]) -> MeasureRange:
    low, high = min(one.low for one in same), max(one.high for one in same)
    return same[0].replaced(low=low, high=high)


def _excess(limit: Limit) -> float:
    return limit.excess
