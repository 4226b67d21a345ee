"""Estimates with intervals as rows of a page, whose text has the page's own size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_TICKS = 5
_MARGIN = 0.04
"""Of the axis, beyond the outermost values."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; NaN where there is none."""

    name: str
    value: float
    low: float
    high: float
    text: str
    """The numbers, for people."""
    is_marked: bool = False
    """Whether it stands out."""


@dataclass(frozen=True)
class Place:
    """Something on an axis, in percent of its length."""

    at: float
    text: str = ""


@dataclass(frozen=True)
class IntervalRow:
    """An interval as it is drawn, in percent of the axis; None where it is not."""

    name: str
    text: str
    is_marked: bool
    value: float | None
    start: float | None
    length: float | None


@dataclass(frozen=True)
class IntervalChart:
    """Rows on one axis."""

    caption: str
    rows: tuple[IntervalRow, ...]
    ticks: tuple[Place, ...]
    line: float | None
    """Where a line stands for no difference."""


def interval_chart(
    intervals: Sequence[Interval],
    *,
    caption: str,
    line_at: float | None = None,
    whole_numbers: bool = False,
) -> IntervalChart:
    """Rows on an axis that holds all of their intervals.

    Args:
        intervals: From top to bottom.
        caption: What the axis shows.
        line_at: A value that is on the axis in any case, marked by a line.
        whole_numbers: Whether only these have a tick.
    """
    ends = [v for i in intervals for v in (i.low, i.high, i.value)]
    ends += [] if line_at is None else [line_at]
    ends = [value for value in ends if math.isfinite(value)] or [0.0]
    low, high = min(ends), max(ends)
    margin = (high - low or abs(low) or 1.0) * _MARGIN
    first, last = low - margin, high + margin

    def percent(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        return round(100 * (value - first) / (last - first), 3)

    rows = []
    for one in intervals:
        start, stop = percent(one.low), percent(one.high)
        length = None if start is None or stop is None else round(stop - start, 3)
        value = percent(one.value)
        rows.append(
            IntervalRow(one.name, one.text, one.is_marked, value, start, length)
        )
    ticks = _ticks(low, high, smallest=1.0 if whole_numbers else 0.0)
    places = [(percent(value), _short(value)) for value in ticks]
    return IntervalChart(
        caption,
        tuple(rows),
        tuple(Place(at, text) for at, text in places if at is not None),
        None if line_at is None else percent(line_at),
    )


def _ticks(low: float, high: float, *, smallest: float) -> list[float]:
    """Round values between two others: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    step = max(10.0 ** math.floor(math.log10(span / _MOST_TICKS)), smallest)
    while math.floor(high / step) - math.ceil(low / step) + 1 > _MOST_TICKS:
        lead = round(step / 10 ** math.floor(math.log10(step)))
        step *= 2.5 if lead == 2 else 2
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _short(value: float) -> str:
    return f"{value:.6g}".replace("-", "−") if value else "0"
