"""Intervals of a page: where each lies on the axis, and words at their own size."""

import math

import pytest

from medseg.reporting.intervals import Interval, interval_chart
from medseg.reporting.text import format_fact


def test_places_are_shares_of_an_axis_that_holds_all() -> None:
    rows = [Interval("a", 1.0, 0.0, 2.0, "x"), Interval("b", 9.0, 8.0, 10.0, "y")]
    chart = interval_chart(rows, caption="c", line_at=0.0)
    # The axis reaches from -0.4 to 10.4, 4 % of its span beyond either end.
    first, second = chart.rows
    assert first.start == chart.line == pytest.approx(100 * 0.4 / 10.8, abs=1e-3)
    assert first.value == pytest.approx(100 * 1.4 / 10.8, abs=1e-3)
    assert first.length == second.length == pytest.approx(100 * 2 / 10.8, abs=2e-3)
    assert [tick.text for tick in chart.ticks] == ["0", "5", "10"]


@pytest.mark.parametrize(
    ("low", "high", "whole", "ticks"),
    [
        (-0.153, 0.172, False, ["−0.1", "0", "0.1"]),
        (-0.02, 0.031, False, ["−0.02", "0", "0.02"]),
        (1, 3, True, ["1", "2", "3"]),
        (1, 1, True, ["1"]),
        (-1200.0, 3.0, False, ["−1000", "−500", "0"]),
        (0.0, 0.0, False, ["0"]),
    ],
)
def test_ticks_are_round(
    low: float, high: float, whole: bool, ticks: list[str]
) -> None:
    rows = [Interval("a", low, low, high, "")]
    chart = interval_chart(rows, caption="", whole_numbers=whole)
    assert [tick.text for tick in chart.ticks] == ticks
    assert all(0 <= tick.at <= 100 for tick in chart.ticks)


def test_a_difference_without_an_interval_is_a_point() -> None:
    rows = [
        Interval("one patient", 0.2, math.nan, math.nan, "+0.2"),
        Interval("none", math.nan, math.nan, math.nan, "no patient"),
    ]
    chart = interval_chart(rows, caption="c", line_at=0.0)
    assert [row.length for row in chart.rows] == [None, None]
    assert chart.rows[0].value is not None
    assert chart.rows[1].value is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"ball": 0.7892994345922548, "kernel": 0.0}, "ball 0.789299, kernel 0"),
        ((0.1, 1.0, 10.0), "0.1, 1, 10"),
        ((), "–"),
        ({}, "–"),
        (None, "–"),
        ("", "–"),
        (0, "0"),
        (True, "yes"),
        (18.176601249004307, "18.1766"),
        ("cpu", "cpu"),
    ],
)
def test_facts_are_written_as_people_do(value: object, text: str) -> None:
    assert format_fact(value) == text
