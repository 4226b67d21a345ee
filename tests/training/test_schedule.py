import pytest

from medseg.errors import SettingsError
from medseg.settings import parse_settings
from medseg.training.length import StepLength, TimeBudget
from medseg.training.schedule import learning_rate_factor
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
