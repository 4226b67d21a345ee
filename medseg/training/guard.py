"""Stops a run whose loss or weights are no longer numbers."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from medseg.errors import NonFiniteLossError, NonFiniteWeightsError
from medseg.networks.finite import nonfinite_weights


class LossGuard:
    """Checks losses some steps later, so that a GPU need not be waited for."""

    def __init__(
        self,
        *,
        every: int,
        report: Callable[[tuple[str, ...], float], None] | None = None,
    ) -> None:
        """Looks once in so many steps.

        Args:
            every: Number of steps.
            report: Told the cases and the loss of each step that was looked at.
        """
        self._every = every
        self._report = report
        self._pending: list[tuple[int, Tensor, tuple[str, ...]]] = []

    def add(self, loss: Tensor, *, step: int, case_ids: tuple[str, ...]) -> None:
        """Notes the loss of a step and of the cases its patches come from.

        Raises:
            NonFiniteLossError: A loss noted since the last look is NaN or infinite.
        """
        self._pending.append((step, loss, case_ids))
        if len(self._pending) >= self._every:
            self.check()

    def check(self) -> None:
        """Checks what was noted since the last check.

        Raises:
            NonFiniteLossError: A loss is NaN or infinite; its cases are named.
        """
        for step, loss, case_ids in self._pending:
            value = float(loss)
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"step {step}: the loss is {value} on patches of "
                    f"{', '.join(sorted(set(case_ids)))}; look at these cases with "
                    "`medseg doctor`, or lower training.optimizer.learning_rate"
                )
            if self._report is not None:
                self._report(case_ids, value)
        self._pending.clear()


def require_finite_weights(network: nn.Module, *, step: int) -> None:
    """Refuses a network that can no longer be trained, scored or saved.

    Args:
        network: As it is after a step; a GPU is waited for.
        step: Number of steps taken, for the message.

    Raises:
        NonFiniteWeightsError: A weight or running statistic is NaN or infinite.
    """
    broken = nonfinite_weights(network)
    if broken:
        raise NonFiniteWeightsError(
            f"step {step}: training diverged, {len(broken)} of the network's tensors "
            f"are no longer finite, the first is {broken[0]}; nothing of this state is "
            "saved. Lower training.optimizer.learning_rate and start anew, or look "
            "for broken intensities with `medseg doctor`"
        )
