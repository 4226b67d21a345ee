"""Intensities made comparable between scans, as the plan says."""

import numpy as np

from medseg.plan import ChannelPlan
from medseg.preparation.contrast import PERCENTILES
from medseg.preparation.stain import Stretch
from medseg.types import ImageArray, SpatialArray

SMALLEST_STD = 1e-8
"""A constant channel is divided by this, and so becomes zero."""


def normalize(voxels: ImageArray, channels: tuple[ChannelPlan, ...]) -> ImageArray:
    """The channels normalised, as float32.

    Args:
        voxels: Finite intensities, shape (C, I, J, K), any numeric dtype.
        channels: What to do with each channel.
    """
    normalized = np.empty(voxels.shape, dtype=np.float32)
    stained = [plan.is_stain for plan in channels]
    if any(stained):  # together: the ground of a picture is that of its channels
        part = voxels[stained]
        those = [plan for plan in channels if plan.is_stain]
        stretch = Stretch.measure(part, channels=those)
        normalized[stained] = stretch.apply(part)
    for out, channel, plan in zip(normalized, voxels, channels, strict=True):
        if not plan.is_stain:
            out[...] = _NORMALIZERS[plan.normalization](channel, plan)
    return normalized


def _fixed(channel: SpatialArray, plan: ChannelPlan) -> SpatialArray:
    """Clipped and scaled by the same numbers in every scan, as HU are absolute."""
    values = channel.astype(np.float32)
    if plan.clip is not None:
        np.clip(values, *plan.clip, out=values)
    values -= np.float32(plan.mean)
    values /= np.float32(plan.std)
    return values


def _zscore(channel: SpatialArray, plan: ChannelPlan) -> SpatialArray:
    """Mean 0 and deviation 1 over the scan, or over its non-zero voxels."""
    values = channel.astype(np.float32)
    known = channel != 0 if plan.nonzero_only else None
    if known is not None and not known.any():
        return values
    counted = values if known is None else values[known]
    mean = counted.mean(dtype=np.float64)
    std = max(counted.std(dtype=np.float64), SMALLEST_STD)
    values -= np.float32(mean)
    values /= np.float32(std)
    if known is not None:
        values[~known] = 0
    return values


def _minmax(channel: SpatialArray, plan: ChannelPlan) -> SpatialArray:
    """Smallest intensity to 0 and largest to 1."""
    del plan
    values = channel.astype(np.float32)
    values -= values.min()
    values /= np.float32(max(values.max(), SMALLEST_STD))
    return values


def _percentile(channel: SpatialArray, plan: ChannelPlan) -> SpatialArray:
    """1st percentile to 0 and 99th to 1, as the range of a picture is arbitrary."""
    values = channel.astype(np.float32)
    counted = values[channel != 0] if plan.nonzero_only else values
    if counted.size == 0:
        return values
    low, high = np.percentile(counted, PERCENTILES)
    values -= np.float32(low)
    values /= np.float32(max(high - low, plan.least_range, SMALLEST_STD))
    if plan.nonzero_only:
        values[channel == 0] = 0
    return values


def _none(channel: SpatialArray, plan: ChannelPlan) -> SpatialArray:
    del plan
    return channel.astype(np.float32)


_NORMALIZERS = {
    "ct": _fixed,
    "fixed": _fixed,
    "zscore": _zscore,
    "minmax": _minmax,
    "percentile": _percentile,
    "none": _none,
}


def absent_value(plan: ChannelPlan) -> float:
    """The intensity that becomes zero, as which an absent channel is read."""
    return plan.mean if plan.is_fixed else 0.0
