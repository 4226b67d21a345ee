"""Whether a scan is suspect: what lies too far outside of training, in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.plan import Plan
from medseg.plausibility.finding_measures import measure_findings
from medseg.plausibility.measure import KINDS, Measures, excess_of, sentence
from medseg.plausibility.scan_measures import Profiles, measure_scan
from medseg.training_ranges import Family, Limit, MeasureRange, TrainingRanges
from medseg.volume import LabelMap, Volume

NOT_CHECKED = "no training ranges: not checked"
"""What is said of models that keep none, or those of a newer medseg."""
_BLUNT = ("quantile", "rim")
"""Kinds of measures that say little about what is wrong; named last."""
MOST_REASONS = 4
"""Of one scan that are spelled out."""


@dataclass(frozen=True)
class Plausibility:
    """Whether a scan and what was found in it are like those of training.

    Attributes:
        doubts: Why it is suspect, a sentence each, the gravest first; empty where
            nothing speaks against it, or nothing was checked.
        unchecked: Why nothing was checked; empty where it was.
    """

    doubts: tuple[str, ...] = ()
    unchecked: str = ""

    @property
    def is_suspect(self) -> bool:
        """Whether something lies too far outside of training."""
        return bool(self.doubts)


def judge(
    volume: Volume,
    label_map: LabelMap,
    plan: Plan,
    ranges: TrainingRanges | None,
    *,
    name: str = "scan",
) -> Plausibility:
    """Compares a scan and its label map with training; changes neither.

    Args:
        volume: The scan as it was read.
        label_map: What was found, on the scan's own grid.
        plan: Of the model.
        ranges: That the model keeps.
        name: Case or file, for error messages.

    Raises:
        InputError: The scan does not fit the plan.
        LabelError: The label map holds values that the plan does not know.
    """
    if ranges is None:
        return Plausibility(unchecked=NOT_CHECKED)
    scan = measure_scan(volume, plan, name=name).against(profiles_of(ranges))
    measures = {**scan, **measure_findings(label_map, plan, name=name)}
    return Plausibility(spell_out(measures, ranges.ranges, ranges.limits))


def profiles_of(ranges: TrainingRanges) -> Profiles:
    """What the channels of training's scans look like."""
    return Profiles(
        np.array([profile.mean for profile in ranges.profiles]),
        np.array([pair.direction for pair in ranges.pairs]),
    )


def excess_by_family(
    measures: Measures, ranges: Sequence[MeasureRange]
) -> dict[Family, float]:
    """How far the oddest measure of each family lies outside, in widths of ranges."""
    worst: dict[Family, float] = {}
    for one in ranges:
        if (one.kind, one.of) in measures:
            family = KINDS[one.kind].family
            worst[family] = max(excess_of(measures, one), worst.get(family, 0.0))
    return worst


def spell_out(
    measures: Measures, ranges: Sequence[MeasureRange], limits: dict[Family, Limit]
) -> tuple[str, ...]:
    """Why a scan is suspect: the oddest measure of each kind and channel or axis.

    Args:
        measures: Of the scan and what was found in it.
        ranges: Of training.
        limits: Of each family, how far beyond its range a measure may lie.
    """
    worst: dict[tuple[str, ...], tuple[float, MeasureRange]] = {}
    for one in ranges:
        limit = limits.get(KINDS[one.kind].family)
        excess = excess_of(measures, one)
        if limit is None or excess <= limit.excess:
            continue
        group = (one.kind, *(one.of[:1] if one.kind == "quantile" else one.of))
        if group not in worst or excess > worst[group][0]:
            worst[group] = (excess, one)
    doubts = sorted(worst.values(), key=lambda d: (d[1].kind in _BLUNT, -d[0]))
    sentences = [sentence(measures, one) for _, one in doubts[:MOST_REASONS]]
    if len(doubts) > MOST_REASONS:
        sentences[-1] += f" (and {len(doubts) - MOST_REASONS} more)"
    return tuple(sentences)
