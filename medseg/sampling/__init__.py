"""Which patch comes next, and the batch that is read from the store."""

from medseg.sampling.draw import Draw
from medseg.sampling.gather import Batch, gather
from medseg.sampling.sampler import PatchSampler
from medseg.sampling.settings import SamplingSettings

__all__ = ["Batch", "Draw", "PatchSampler", "SamplingSettings", "gather"]
