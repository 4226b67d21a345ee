"""Contrast of pictures: measured in training, checked in every later picture.

A picture that shows nothing has only noise to stretch, and a network that normalises
each instance enlarges it again. So what is found in a picture with less contrast than
nearly all of training must stand out as an object of training does.
"""

from dataclasses import dataclass

import numpy as np

from medseg.plan import ChannelPlan
from medseg.preparation.stain import HIGH, LOW, Stretch
from medseg.types import ImageArray, LabelArray

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
