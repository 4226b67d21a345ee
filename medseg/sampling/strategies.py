"""Sampling strategies by the names that configurations use."""

from collections.abc import Sequence
from typing import cast, get_args

from medseg.errors import PluginError
from medseg.plugins import find
from medseg.sampling.by_case import Foreground, HardExample, Uniform
from medseg.sampling.by_class import ClassBalanced, InverseFrequency
from medseg.sampling.by_fraction import AnyForeground
from medseg.sampling.by_lesion import LesionBalanced
from medseg.sampling.settings import SamplingSettings, Strategy
from medseg.sampling.strategy import Chooser
from medseg.store import StoredCase
from medseg.types import Shape

STRATEGIES: dict[Strategy, type[Chooser]] = {
    "uniform": Uniform,
    "foreground": Foreground,
    "class_balanced": ClassBalanced,
    "inverse_frequency": InverseFrequency,
    "lesion_balanced": LesionBalanced,
    "any_foreground": AnyForeground,
    "hard_example": HardExample,
}


def build_strategy(
    cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
) -> Chooser:
    """The strategy that settings name.

    Args:
        cases: Prepared cases.
        patch_size: Voxels along (i, j, k).
        settings: Name and numbers.

    Raises:
        PluginError: One by path cannot be found or built, or is no `Chooser`.
    """
    name = settings.strategy
    if name in get_args(Strategy):
        return STRATEGIES[cast(Strategy, name)](cases, patch_size, settings)
    plugin = find(name, kind="samplers")
    made = plugin.build(cases, patch_size, settings, **settings.args)
    if not isinstance(made, Chooser):
        raise PluginError(
            f"sampler {name}: expected a subclass of medseg.sampling.Chooser, found "
            f"{type(made).__name__}"
        )
    return made
