"""Microscopy made comparable: the ground dark, cells bright, whatever the stain.

Fluorescence shows bright cells on a dark ground, stains (haematoxylin and eosin and
others) and brightfield show dark cells on a light ground. A picture whose median lies
in the lower third of its range has a dark ground: of the 531 pictures of the 2018 Data
Science Bowl, all 432 of fluorescence lie below 0.19, all 99 others above 0.52.

A light ground is inverted. A dark one goes through a square root, as counts of photons
have a deviation that grows with the root of their mean: it evens out the noise and
brings out faint cells beside bright ones.

A picture without any cell has no range to stretch but its noise. So no range below that
of nearly all training pictures is stretched: see `ChannelPlan.least_range`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.plan import ChannelPlan
from medseg.types import ImageArray

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
