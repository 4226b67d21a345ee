"""One measured number: what it is called, on which scale it is compared, in words."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from medseg.training_ranges import Family, Kind, MeasureRange

Measures: TypeAlias = Mapping[tuple[Kind, tuple[str, ...]], float]
"""Values by kind and by what they are of."""

_SMALLEST = 1e-9


@dataclass(frozen=True)
class MeasureKind:
    """How a kind of measure is compared and said.

    Attributes:
        family: Kinds that share a limit.
        least_width: A range counts at least as this wide, on the compared scale.
        words: What was found, given `of`, value, low and high as texts.
        is_ratio: Compared by its logarithm.
        is_one_sided: Only values below the range count.
        digits: Significant digits of the numbers in the sentence.
    """

    family: Family
    least_width: float
    words: str
    is_ratio: bool = False
    is_one_sided: bool = False
    digits: int = 3

    def scaled(self, value: float) -> float:
        """The value on the scale on which it is compared."""
        return math.log(max(value, _SMALLEST)) if self.is_ratio else value

    def excess(self, value: float, low: float, high: float) -> float:
        """How far a value lies outside a range, in widths of the range."""
        value, low, high = (self.scaled(number) for number in (value, low, high))
        below, above = low - value, 0.0 if self.is_one_sided else value - high
        return max(below, above, 0.0) / max(high - low, self.least_width)


_TRAINING = " (in training {low} to {high})"
KINDS: dict[Kind, MeasureKind] = {
    "spacing": MeasureKind(
        "geometry",
        math.log(1.25),
        "voxels of {value} mm from {of[0]}" + _TRAINING,
        is_ratio=True,
    ),
    "extent": MeasureKind(
        "geometry",
        math.log(1.25),
        "the scan covers {value} mm from {of[0]}" + _TRAINING,
        is_ratio=True,
    ),
    "directions": MeasureKind(
        "geometry", 0.05, "the file {value} where its axes point, unlike training's"
    ),
    "quantile": MeasureKind(
        "intensities",
        0.5,
        "{of[0]}: {of[1]} % of the voxels lie below {value} after normalisation"
        + _TRAINING,
        digits=2,
    ),
    "rim": MeasureKind(
        "intensities",
        0.25,
        "{of[0]}: the rim of the scan has a mean of {value} after normalisation"
        + _TRAINING,
        digits=2,
    ),
    "layout": MeasureKind(
        "intensities",
        0.2,
        "{of[0]}: where it is bright and dark agrees with training's mean picture by "
        "r = {value}{hint}" + _TRAINING,
        is_one_sided=True,
        digits=2,
    ),
    "correlation": MeasureKind(
        "intensities",
        0.2,
        "{of[0]} and {of[1]} correlate with r = {value}" + _TRAINING,
        digits=2,
    ),
    "order": MeasureKind("order", 0.02, "the order of channels", is_one_sided=True),
    "arrangement": MeasureKind(
        "order",
        0.2,
        "the channels look like {names} in this order, which fits training better than "
        "the model's (a margin of {value})" + _TRAINING,
        is_one_sided=True,
        digits=2,
    ),
    "volume": MeasureKind(
        "findings", math.log(2), "{of[0]}: {value} ml" + _TRAINING, is_ratio=True
    ),
    "components": MeasureKind(
        "findings",
        math.log(2),
        "{of[0]}: {value} separate parts" + _TRAINING,
        is_ratio=True,
    ),
    "absent": MeasureKind(
        "findings",
        0.05,
        "{of[0]} was found nowhere, though every scan of training shows it",
    ),
    "objects": MeasureKind(
        "findings", math.log(4), "{value} objects" + _TRAINING, is_ratio=True
    ),
    "object_size": MeasureKind(
        "findings",
        math.log(2),
        "the objects have {value} voxels (median)" + _TRAINING,
        is_ratio=True,
    ),
}
_DIRECTIONS = {True: "does not say", False: "says"}
BINARY: frozenset[Kind] = frozenset({"directions", "absent"})
"""Kinds of which a range is what occurred, without quantiles."""


def range_of(
    kind: Kind, of: tuple[str, ...], values: np.ndarray, *, share: float
) -> MeasureRange:
    """The range of a measure over cases.

    Args:
        kind: What was measured.
        of: Of what.
        values: One for each case.
        share: Quantile at either end.
    """
    ends = (0.0, 1.0) if kind in BINARY else (share, 1 - share)
    low, high = (float(q) for q in np.quantile(values, ends))
    return MeasureRange(kind=kind, of=of, low=low, high=high)


def excess_of(measures: Measures, one: MeasureRange) -> float:
    """How far a scan's measure lies outside its range; 0 where it was not measured."""
    value = measures.get((one.kind, one.of))
    if value is None:
        return 0.0
    return KINDS[one.kind].excess(value, one.low, one.high)


def sentence(measures: Measures, one: MeasureRange) -> str:
    """What was found and what training had, in one sentence."""
    kind, value = KINDS[one.kind], measures[(one.kind, one.of)]
    show: Callable[[float], str] = f"{{:.{kind.digits}g}}".format
    if kind.digits == 2:  # normalised intensities and correlations
        show = "{:.2f}".format
    return kind.words.format(
        of=one.of,
        names=", ".join(one.of),
        value=_DIRECTIONS[bool(value)] if one.kind == "directions" else show(value),
        low=show(one.low),
        high=show(one.high),
        hint=" (inverted, or turned otherwise?)" if value < 0 else "",
    )
