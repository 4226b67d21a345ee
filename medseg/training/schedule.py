"""The learning rate as a function of how much of the run is done."""

import math

from medseg.training.settings import ScheduleSettings


def learning_rate_factor(done: float, settings: ScheduleSettings) -> float:
    """Factor in (0, 1] on the highest learning rate.

    Args:
        done: Share of the run that is over, in [0, 1]; of time or of steps.
        settings: Shape of the schedule.

    References:
        Cosine: Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983. Polynomial: Chen
        et al., TPAMI 2018, arXiv:1606.00915.
    """
    if done < settings.warmup:
        return 0.05 + 0.95 * done / settings.warmup
    after = min((done - settings.warmup) / (1 - settings.warmup), 1.0)
    if settings.name == "polynomial":
        return float(max(1 - after, 1e-3) ** settings.power)
    if settings.name == "cosine":
        wave = (1 + math.cos(math.pi * after)) / 2
        return settings.final + (1 - settings.final) * wave
    return 1.0
