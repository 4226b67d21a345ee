"""Sampling strategies by the names that configurations use."""

from medseg.sampling.by_case import Foreground, HardExample, Uniform
from medseg.sampling.by_class import ClassBalanced, InverseFrequency
from medseg.sampling.by_fraction import AnyForeground
from medseg.sampling.by_lesion import LesionBalanced
from medseg.sampling.settings import Strategy
from medseg.sampling.strategy import Chooser

STRATEGIES: dict[Strategy, type[Chooser]] = {
    "uniform": Uniform,
    "foreground": Foreground,
    "class_balanced": ClassBalanced,
    "inverse_frequency": InverseFrequency,
    "lesion_balanced": LesionBalanced,
    "any_foreground": AnyForeground,
    "hard_example": HardExample,
}
