"""Which patch comes next, the batch that is read from the store, and the ledger."""

from medseg.sampling.alarms import absence_alarms, collapse_alarms, starvation_alarms
from medseg.sampling.draw import Draw
from medseg.sampling.gather import Batch, gather
from medseg.sampling.ledger import Ledger
from medseg.sampling.sampler import PatchSampler
from medseg.sampling.settings import SamplingSettings

__all__ = [
    "Batch",
    "Draw",
    "Ledger",
    "PatchSampler",
    "SamplingSettings",
    "absence_alarms",
    "collapse_alarms",
    "gather",
    "starvation_alarms",
]
