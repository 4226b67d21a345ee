"""The demo on machines that are too slow or too busy for its usual budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import ShortBudgetError
from medseg.runs.config import RunConfig
from medseg.studies import demo as module
from medseg.testing import make_tiny_study


class ReachedError(Exception):
    """The journey went on after training."""


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Those of the trainings that were begun; 240 seconds are needed."""
    begun: list[float | None] = []

    def train(config: RunConfig, out: Path, **kwargs: Any) -> None:
        seconds = config.training.budget
        begun.append(seconds)
        assert seconds is not None
        if seconds < 240:
            raise ShortBudgetError("too short", least_seconds=240)
        raise ReachedError

    monkeypatch.setattr(module, "train", train)
    return begun


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    study = make_tiny_study(tmp_path / "study", num_cases=3)
    return lambda **kwargs: module.demo(tmp_path / "demo", data=study, **kwargs)


def test_a_slow_machine_gets_more_time(
    budgets: list[float | None], run: Callable[..., Path]
) -> None:
    with pytest.raises(ReachedError):
        run()
    assert budgets == [180, 720]


def test_a_budget_that_was_given_is_kept(
    budgets: list[float | None], run: Callable[..., Path]
) -> None:
    with pytest.raises(ShortBudgetError):
        run(budget="2m")
    assert budgets == [120]


def test_a_budget_that_is_enough_is_not_changed(
    budgets: list[float | None], run: Callable[..., Path]
) -> None:
    with pytest.raises(ReachedError):
        run(budget="5m")
    assert budgets == [300]
