"""Which patch comes next, batches read from the store, and sampling statistics."""

from medseg.sampling.alarms import absence_alarms, collapse_alarms, starvation_alarms
from medseg.sampling.gather import PatchBatch, gather
from medseg.sampling.sampler import PatchSampler
from medseg.sampling.sampling_stats import SamplingStats
from medseg.sampling.settings import SamplingSettings
from medseg.sampling.strategy import Choice, Chooser, Draw, NextCase

__all__ = [
    "Choice",
    "Chooser",
    "NextCase",
    "PatchBatch",
    "Draw",
    "SamplingStats",
    "PatchSampler",
    "SamplingSettings",
    "absence_alarms",
    "collapse_alarms",
    "gather",
    "starvation_alarms",
]
