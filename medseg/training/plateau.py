"""Ending a run that no longer gets better."""

from collections.abc import Sequence

VALIDATIONS = 3
"""Validations over which nothing was gained."""

GAIN = 0.001
"""Rise of the mean Dice that counts as a gain."""

COOL_DOWN = 0.1
"""Time that a run still gets to lower its learning rate, as a share of that so far."""


def has_plateaued(dice: Sequence[float]) -> bool:
    """Whether the last validations brought nothing over the best before them.

    Args:
        dice: Mean Dice of all validations so far, in order.
    """
    if len(dice) <= VALIDATIONS:
        return False
    return max(dice[-VALIDATIONS:]) < max(dice[:-VALIDATIONS]) + GAIN


def shorten(done: float, *, cut_at: float) -> float:
    """How much of a run is done that was cut short.

    The learning rate goes on from where it is, and reaches its end after a tenth of
    the time that was spent up to the cut.

    Args:
        done: Share of the whole run that is over.
        cut_at: Share at which it was cut; 0 for a run that was not.
    """
    if not 0 < cut_at < done:
        return done
    return min(cut_at + (done - cut_at) * (1 - cut_at) / (COOL_DOWN * cut_at), 1.0)
