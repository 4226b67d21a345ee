import time

import pytest

from medseg.errors import SettingsError, TrainingError
from medseg.settings import parse_settings
from medseg.training.length import StepLength, TimeBudget
from medseg.training.parts import learning_rate_factor
from medseg.training.settings import (
    ScheduleSettings,
    TrainingSettings,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15m", 900), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("1h 2m 3s", 3723)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["15", "m", "fast", "15 apples", "5m3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 90s, 15m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("number", [2, 0, 15])
@pytest.mark.parametrize("key", ["budget", "checkpoint_every"])
def test_a_bare_whole_number_asks_for_a_unit(key: str, number: int) -> None:
    with pytest.raises(SettingsError, match=rf"{key}: {number} has no unit; write"):
        parse_settings(TrainingSettings, {key: number})


@pytest.mark.parametrize("seconds", [900.0, 0.5, 1e6, 5400.25])
def test_durations_are_written_with_their_unit(seconds: float) -> None:
    settings = TrainingSettings(budget=seconds)  # as earlier versions wrote them
    written = settings.model_dump(mode="json")
    assert parse_duration(written["budget"]) == seconds
    assert written["budget"].endswith("s")
    assert parse_settings(TrainingSettings, written) == settings


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_a_budget_with_room_for_no_training_is_refused_at_the_second_step(
    clock: Clock,
) -> None:
    budget = TimeBudget(20)
    clock.now += 5.0  # making ready
    budget.taken(0)
    clock.now += 6.0  # the first step warms up
    budget.taken(1)
    clock.now += 2.0
    with pytest.raises(TrainingError, match=r"a step takes 2 s here.*--budget 40s"):
        budget.taken(2)  # 13 s gone, 7 s left: 3.5 steps; 13 + 10 x 2 = 33 s needed


def test_a_budget_with_room_for_ten_steps_is_not_refused(clock: Clock) -> None:
    budget = TimeBudget(30)
    for step in range(1, 12):
        clock.now += 2.0
        budget.taken(step)
    budget.ended(11)


@pytest.mark.parametrize("steps", [0, 1, 9])
def test_a_budget_that_ended_before_ten_steps_is_refused(
    clock: Clock, steps: int
) -> None:
    budget = TimeBudget(3)
    clock.now += 41.0
    with pytest.raises(TrainingError, match=rf"over after {steps} steps.*--budget 3m"):
        budget.ended(steps)


def test_a_resumed_run_is_not_asked_again(clock: Clock) -> None:
    budget = TimeBudget(20, used=19)
    clock.now += 5.0
    budget.taken(500)
    budget.taken(501)
    budget.ended(501)


def test_a_number_of_steps_is_anybodys_choice() -> None:
    StepLength(1).taken(1)
    StepLength(1).ended(1)


def test_two_lengths_are_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="budget and steps given"):
        parse_settings(TrainingSettings, {"budget": "1m", "steps": 5})


def test_a_misspelt_key_is_named_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"optimizer\.learningrate: unknown key"):
        parse_settings(TrainingSettings, {"optimizer": {"learningrate": 1.0}})


def test_cosine_rises_then_falls_to_its_end() -> None:
    settings = ScheduleSettings(warmup=0.1, final=0.01)
    assert learning_rate_factor(0.0, settings) == pytest.approx(0.05)
    assert learning_rate_factor(0.1, settings) == pytest.approx(1.0)
    assert learning_rate_factor(0.55, settings) == pytest.approx(0.505)
    assert learning_rate_factor(1.0, settings) == pytest.approx(0.01)


def test_polynomial_is_that_of_nnunet_without_warmup() -> None:
    settings = ScheduleSettings(name="polynomial", warmup=0.0)
    assert learning_rate_factor(0.5, settings) == pytest.approx(0.5**0.9)


def test_steps_count_to_the_end() -> None:
    assert [StepLength(4).done(step) for step in (0, 2, 4, 9)] == [0, 0.5, 1, 1]


def test_a_resumed_budget_counts_what_was_used() -> None:
    assert TimeBudget(100, used=50).done(0) == pytest.approx(0.5, abs=0.01)
    assert TimeBudget(100, used=120).done(0) == 1.0


def test_processor_time_counts_where_it_is_asked_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = Clock()
    monkeypatch.setattr(time, "process_time", processor)
    budget = TimeBudget(20, clock="cpu", used=5)
    clock.now += 100.0  # others computed
    assert budget.done(0) == 0.25
    processor.now += 10.0
    assert budget.done(1) == 0.75
    assert TimeBudget(20).done(0) == 0
    assert "of processor time" in budget.describe()
