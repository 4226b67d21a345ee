"""What a step changes and how fast: parts of a network, and the learning rate."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medseg.errors import PluginError, SettingsError
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import NetworkSettings
from medseg.networks.transfer import head_names
from medseg.plugins import Plugin, find
from medseg.training.settings import InitSettings, ScheduleSettings


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


Part: TypeAlias = Literal["encoder", "decoder", "head"]


def parts_of(
    network: SegmentationNetwork, settings: NetworkSettings, init: InitSettings
) -> dict[str, Part]:
    """The part that each parameter of a network belongs to.

    Args:
        network: The network.
        settings: That it was built by.
        init: Says what the encoder is, where the network does not.

    Raises:
        SettingsError: What the encoder is, is not known or not there.
    """
    core = tuple(f"core.{name}" for name in network.core.encoder_modules)
    given = tuple(n for name in init.encoder for n in (name, f"core.body.{name}"))
    encoder, heads = given or core, head_names(network, settings)
    parts: dict[str, Part] = {}
    for name, _ in network.named_parameters():
        if name in heads:
            parts[name] = "head"
        else:
            parts[name] = "encoder" if name.startswith(encoder) else "decoder"
    if init.needs_encoder and "encoder" not in parts.values():
        some = ", ".join(list(dict.fromkeys(_first_words(n) for n in parts))[:8])
        raise SettingsError(
            f"training.init: which weights of network {settings.name} are its encoder "
            f"is not known; say by training.init.encoder what their names begin with; "
            f"they begin with {some}"
        )
    return parts


def learning_rates(parts: Mapping[str, Part], init: InitSettings) -> dict[str, float]:
    """The factor on the learning rate of each parameter."""
    factors = {
        "encoder": init.learning_rate_encoder,
        "decoder": init.learning_rate_decoder,
        "head": init.learning_rate_head,
    }
    return {name: factors[part] for name, part in parts.items()}


class FrozenEncoder:
    """Keeps the encoder as it is over the first share of a run.

    Nothing is computed backwards through it meanwhile, and batch normalization takes
    the statistics that it has learned.
    """

    def __init__(
        self,
        network: nn.Module,
        parts: Mapping[str, Part],
        *,
        share: float,
        changed: Callable[[], None],
    ) -> None:
        """Nothing is frozen yet.

        Args:
            network: The network that is trained.
            parts: What each parameter belongs to.
            share: Of the run.
            changed: Called after parameters began or ceased to be trained.
        """
        self._share, self._changed = share, changed
        names = [name for name, part in parts.items() if part == "encoder"]
        known = dict(network.named_parameters())
        self._parameters = [known[name] for name in names]
        inside = tuple({name.rpartition(".")[0] for name in names})
        self._normalizations = [
            module
            for name, module in network.named_modules()
            if isinstance(module, _BatchNorm) and name in inside
        ]
        self._frozen = False

    def follow(self, done: float) -> None:
        """Freezes or lets go, by the share of the run that is over."""
        frozen = done < self._share
        if frozen:
            for module in self._normalizations:
                module.eval()
        if frozen == self._frozen:
            return
        self._frozen = frozen
        for parameter in self._parameters:
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
        if not frozen:
            for module in self._normalizations:
                module.train()
        self._changed()


def _first_words(name: str) -> str:
    """The beginning of a parameter's name, such as ``core.body.model.0``."""
    return ".".join(name.split(".")[:4])
