"""The learning rate as a function of how much of the run is done."""

import math
from collections.abc import Callable
from functools import partial

from medseg.errors import PluginError
from medseg.plugins import Plugin, find
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


OWN = ("cosine", "polynomial", "constant")


def build_schedule(settings: ScheduleSettings) -> Callable[[float], float]:
    """The factor on the highest learning rate as a function of the share that is over.

    Raises:
        PluginError: One by path cannot be found or built.
    """
    if settings.name in OWN:
        return partial(learning_rate_factor, settings=settings)
    plugin = find(settings.name, kind="schedules")
    return partial(_factor_of, plugin, plugin.function(**settings.args))


def _factor_of(
    plugin: Plugin, schedule: Callable[[float], float], done: float
) -> float:
    try:
        factor = float(schedule(done))
    except (TypeError, ValueError) as error:
        raise PluginError(f"schedule {plugin.name}: at {done:.3f}: {error}") from error
    if not 0 <= factor < math.inf:
        raise PluginError(
            f"schedule {plugin.name}: expected a factor of 0 or more, found {factor} "
            f"at {done:.3f} of the run"
        )
    return factor
