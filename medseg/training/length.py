"""How long a run is, and how much of it is done: by steps or by the clock."""

import math
import time
from typing import Literal, Protocol, TypeAlias

from medseg.errors import ShortBudgetError

Clock: TypeAlias = Literal["wall", "cpu"]
"""Time that passes, or that the process computes."""
LEAST_STEPS = 10
"""A run that the clock ends before so many steps has trained nothing."""


class RunLength(Protocol):
    """Tells how much of a run is done."""

    def done(self, step: int) -> float:
        """Share of the run that is over before a step, 1 when it must end."""
        ...

    def taken(self, step: int) -> None:
        """Records how many steps the run has taken.

        Raises:
            ShortBudgetError: The run will end with too few steps to train anything.
        """
        ...

    def ended(self, step: int) -> None:
        """Records after how many steps the run ends.

        Raises:
            ShortBudgetError: They are too few to have trained anything.
        """
        ...

    def describe(self) -> str:
        """The length in words."""
        ...


class StepLength:
    """A fixed number of optimiser steps; repeatable to the bit."""

    def __init__(self, steps: int) -> None:
        """A run of so many steps."""
        self.steps = steps

    def done(self, step: int) -> float:
        """Share of the steps taken."""
        return min(step / self.steps, 1.0)

    def taken(self, step: int) -> None:
        """Does nothing: the number of steps was given."""

    def ended(self, step: int) -> None:
        """Does nothing: the number of steps was given."""

    def describe(self) -> str:
        """The number of steps."""
        return f"{self.steps} steps"


def seconds_on(clock: Clock) -> float:
    """Reading of a clock in seconds; only differences are meaningful.

    Args:
        clock: ``wall``: time that passes; ``cpu``: time that this process computed,
            on all its cores together.
    """
    return time.process_time() if clock == "cpu" else time.monotonic()


class TimeBudget:
    """A budget of time; what a resumed run already used is counted.

    The schedule follows the clock, so it fits whatever a step turns out to cost.
    """

    def __init__(
        self, seconds: float, *, used: float = 0.0, clock: Clock = "wall"
    ) -> None:
        """A budget that starts running now.

        Args:
            seconds: The whole budget.
            used: Seconds of it that earlier parts of a resumed run spent.
            clock: What counts.
        """
        self.seconds = seconds
        self.clock = clock
        self._start = seconds_on(clock) - used
        self._first_step_at: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds spent so far."""
        return seconds_on(self.clock) - self._start

    def done(self, step: int) -> float:
        """Share of the budget spent."""
        del step
        available = max(self.seconds, 1e-9)
        return min(self.elapsed / available, 1.0)

    def taken(self, step: int) -> None:
        """Times the second step, which is typical of the later ones.

        Raises:
            ShortBudgetError: Fewer than `LEAST_STEPS` fit into the budget.
        """
        if step == 1:
            self._first_step_at = self.elapsed
        if step != 2 or self._first_step_at is None:
            return
        now = self.elapsed
        each = max(now - self._first_step_at, 1e-9)
        if 2 + (self.seconds - now) / each < LEAST_STEPS:
            needed = now + LEAST_STEPS * each
            raise ShortBudgetError(
                f"the budget of {self.seconds:.3g} s is too short: a step takes "
                f"{each:.2g} s here, and fewer than {LEAST_STEPS} steps train nothing; "
                f"give at least --budget {_round_up(needed)}",
                least_seconds=needed,
            )

    def ended(self, step: int) -> None:
        """Checks that enough steps were taken.

        Raises:
            ShortBudgetError: There were fewer than `LEAST_STEPS`.
        """
        if step >= LEAST_STEPS:
            return
        needed = max(30.0, 3 * self.elapsed)
        raise ShortBudgetError(
            f"the budget of {self.seconds:.3g} s was over after {step} steps, and "
            f"fewer than {LEAST_STEPS} train nothing; no model was saved; give at "
            f"least --budget {_round_up(needed)}",
            least_seconds=needed,
        )

    def describe(self) -> str:
        """The budget in minutes."""
        of = " of processor time" if self.clock == "cpu" else ""
        return f"{self.seconds / 60:.3g} minutes{of}"


def _round_up(seconds: float) -> str:
    """A duration of at least so many seconds, in words of the command line."""
    if seconds <= 120:
        return f"{10 * math.ceil(seconds / 10)}s"
    return f"{math.ceil(seconds / 60)}m"
