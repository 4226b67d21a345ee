"""How long a run is, and how much of it is done: by steps or by the clock."""

import time
from typing import Protocol


class RunLength(Protocol):
    """Tells how much of a run is done."""

    def done(self, step: int) -> float:
        """Share of the run that is over before a step, 1 when it must end."""
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

    def describe(self) -> str:
        """The number of steps."""
        return f"{self.steps} steps"


class TimeBudget:
    """A wall-clock budget; what a resumed run already used is counted.

    The schedule follows the clock, so it fits whatever a step turns out to cost. A
    reserve is kept back for the work that follows the last step.
    """

    def __init__(self, seconds: float, *, used: float = 0.0) -> None:
        """A budget that starts running now.

        Args:
            seconds: The whole budget.
            used: Seconds of it that earlier parts of a resumed run spent.
        """
        self.seconds = seconds
        self.reserve = 0.0
        self._start = time.monotonic() - used

    @property
    def elapsed(self) -> float:
        """Seconds spent so far."""
        return time.monotonic() - self._start

    def done(self, step: int) -> float:
        """Share of the budget spent, the reserve left aside."""
        del step
        available = max(self.seconds - self.reserve, 1e-9)
        return min(self.elapsed / available, 1.0)

    def describe(self) -> str:
        """The budget in minutes."""
        return f"{self.seconds / 60:.3g} minutes"
