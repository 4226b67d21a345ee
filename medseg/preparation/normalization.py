"""Intensities made comparable between scans, as the plan says.

Fluorescence shows bright cells on a dark ground, stains (haematoxylin and eosin and
others) and brightfield show dark cells on a light ground. A picture whose median lies
in the lower third of its range has a dark ground: of the 531 pictures of the 2018 Data
Science Bowl, all 432 of fluorescence lie below 0.19, all 99 others above 0.52.

A light ground is inverted. A dark one goes through a square root, as counts of photons
have a deviation that grows with the root of their mean: it evens out the noise and
brings out faint cells beside bright ones.

A picture without any cell has no range to stretch but its noise. So no range below that
of nearly all training pictures is stretched: see `ChannelPlan.least_range`.

A picture that shows nothing has only noise to stretch, and a network that normalises
each instance enlarges it again. So what is found in a picture with less contrast than
nearly all of training must stand out as an object of training does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.plan import ChannelPlan
from medseg.types import ImageArray, LabelArray, SpatialArray

LOW, HIGH = 1.0, 99.8
"""Percentiles that become the ends of the range; few cells are few pixels."""
LIGHT = 1 / 3
"""A ground is light where the median lies above this share of the range."""
SMALLEST_RANGE = 1e-6
"""A constant channel is divided by this, and so becomes 0."""


@dataclass(frozen=True)
class Stretch:
    """How the intensities of one picture become network input.

    Attributes:
        low: Becomes 0 (1 where inverted), one per channel.
        high: Becomes 1 (0 where inverted).
        light: Whether the ground is light.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    light: bool

    @classmethod
    def measure(
        cls, voxels: ImageArray, *, channels: Sequence[ChannelPlan] = ()
    ) -> "Stretch":
        """From a picture, or from a part of its pixels, shape (C, ...).

        Args:
            voxels: Intensities.
            channels: Of each channel, the smallest range that becomes 0 to 1; the
                end on which the ground lies keeps its place.
        """
        flat = voxels.reshape(len(voxels), -1)
        low, median, high = np.percentile(flat, [LOW, 50, HIGH], axis=1)
        spread = np.maximum(high - low, SMALLEST_RANGE)
        light = float(np.mean((median - low) / spread)) > LIGHT
        if channels:
            least = [channel.least_range_of(light=light) for channel in channels]
            wide = np.maximum(high - low, least)
            low, high = (high - wide, high) if light else (low, low + wide)
        return cls(tuple(map(float, low)), tuple(map(float, high)), light)

    def apply(self, voxels: ImageArray) -> ImageArray:
        """The picture, or a tile of it, from about 0 to about 1, float32."""
        shape = (-1,) + (1,) * (voxels.ndim - 1)
        low, high = (
            np.asarray(end, dtype=np.float32).reshape(shape)
            for end in (self.low, self.high)
        )
        shares = (voxels.astype(np.float32) - low) / np.maximum(
            high - low, np.float32(SMALLEST_RANGE)
        )
        if self.light:
            return np.asarray(1 - shares)
        return np.asarray(np.sqrt(np.maximum(shares, 0)))


PERCENTILES = (1.0, 99.0)
"""Of a picture, these become 0 and 1 (``percentile``)."""


@dataclass(frozen=True)
class FaintPicture:
    """A picture with less contrast than nearly all of training.

    Attributes:
        spread: Its range of intensities, summed over channels.
        expected: The least that was expected.
        contrasts: Of each channel, how far an object must stand out from the ground.
    """

    spread: float
    expected: float
    contrasts: tuple[float, ...]

    @property
    def remark(self) -> str:
        """What is said of it."""
        return (
            "less contrast than the pictures of training (a range of "
            f"{self.spread:.4g}, at least {self.expected:.4g} expected): it may show "
            "nothing"
        )


def faintness(
    voxels: ImageArray, channels: tuple[ChannelPlan, ...]
) -> FaintPicture | None:
    """Whether a picture has too little contrast in all of its channels together.

    Args:
        voxels: Intensities as they are in files, shape (C, ...).
        channels: What was decided about each channel; those without `least_range`
            are not asked.
    """
    asked = [n for n, channel in enumerate(channels) if channel.least_range > 0]
    if not asked:
        return None
    light = ground_is_light(voxels, channels)
    expected = sum(channels[n].least_range_of(light=light) for n in asked)
    spread = sum(spread_of(voxels[n], stain=channels[n].is_stain) for n in asked)
    if spread >= expected:
        return None
    contrasts = tuple(channel.least_contrast_of(light=light) for channel in channels)
    return FaintPicture(spread, expected, contrasts)


def ground_is_light(voxels: ImageArray, channels: tuple[ChannelPlan, ...]) -> bool:
    """Whether stained channels have a light ground; False where none is stained."""
    stained = [channel.is_stain for channel in channels]
    return any(stained) and Stretch.measure(voxels[stained]).light


def spread_of(channel: np.ndarray, *, stain: bool) -> float:
    """The range of intensities that normalising a picture stretches to 0 to 1."""
    low, high = np.percentile(channel, (LOW, HIGH) if stain else PERCENTILES)
    return float(high - low)


def contrasts_of(objects: LabelArray, voxels: ImageArray) -> np.ndarray:
    """How far the mean of each object lies from the median of the ground.

    Args:
        objects: Numbers from 1 without gaps, 0 for the ground.
        voxels: Intensities, shape (C, *shape of objects).

    Returns:
        Absolute differences, shape (C, objects); none where there is no ground.
    """
    numbers = objects.ravel()
    count, ground = int(numbers.max(initial=0)), numbers == 0
    if not count or not ground.any():
        return np.zeros((len(voxels), 0))
    sizes = np.bincount(numbers, minlength=count + 1)[1:]
    flat = voxels.reshape(len(voxels), -1)
    sums = [np.bincount(numbers, c, minlength=count + 1)[1:] for c in flat]
    medians = np.median(flat[:, ground], axis=1)
    return np.asarray(np.abs(np.array(sums) / sizes - medians[:, None]))


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
