"""From levels of depth to numbered objects: thresholds, seeds, watershed.

Every step looks no farther than a stated number of voxels (`DecodingSettings.reach`),
except for the watershed, which stays inside a connected foreground: so that the
objects of a large image can be found tile by tile (`stitching.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from medseg.settings import Settings
from medseg.types import LabelArray, MaskArray

FULL = 255
"""Probability 1 in a map of bytes."""


class DecodingSettings(Settings):
    """How objects are found in the network's answer; chosen on held-out cases."""

    foreground: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a voxel belongs to any object."""
    seed: float = Field(default=0.7, gt=0, lt=1)
    """Expected depth, from 0 outside to 1 innermost, from which it belongs to the
    seed of an object; connected seeds are one object."""
    min_voxels: int = Field(default=0, ge=0)
    """Smaller objects are taken away."""
    reason: str = ""
    """Where the numbers come from; for readers only."""

    def describe(self) -> str:
        """The numbers in words."""
        return (
            f"foreground above {self.foreground:g}, seeds above {self.seed:g}, "
            f"{self.min_voxels} voxels at least"
        )


def joint_decoding(
    members: Sequence[DecodingSettings | None],
) -> DecodingSettings | None:
    """What several models have in common: mean thresholds, the least of least sizes."""
    known = [member for member in members if member is not None]
    if not known:
        return None
    return DecodingSettings(
        foreground=float(np.mean([member.foreground for member in known])),
        seed=float(np.mean([member.seed for member in known])),
        min_voxels=min(member.min_voxels for member in known),
        reason=f"the mean of {len(known)} models",
    )


@dataclass(frozen=True)
class Depths:
    """What is kept of the network's answer, a byte each: 255 stands for 1.

    Attributes:
        foreground: Probability of any object, uint8.
        depth: Expected level over the number of levels, uint8.
    """

    foreground: np.ndarray
    depth: np.ndarray

    @classmethod
    def of_probabilities(cls, probabilities: np.ndarray) -> "Depths":
        """From the softmax, shape (levels + 1, ...), float."""
        levels = np.arange(len(probabilities), dtype=np.float32) / (
            len(probabilities) - 1
        )
        depth = np.tensordot(levels, probabilities, axes=1)
        return cls(_to_bytes(1 - probabilities[0]), _to_bytes(depth))


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(np.clip(shares, 0, 1) * FULL), dtype=np.uint8)


def decode(depths: Depths, settings: DecodingSettings) -> LabelArray:
    """Numbers of objects from 1 without gaps, 0 outside, uint32.

    Args:
        depths: Of an image that is decoded at once; any number of axes.
        settings: Thresholds.
    """
    seeds, _ = label_seeds(depths, settings)
    labels = flood(depths, seeds, settings)
    return without_small(labels, min_voxels=settings.min_voxels)


def find_seeds(depths: Depths, settings: DecodingSettings) -> MaskArray:
    """Voxels of seeds."""
    inside = depths.foreground > settings.foreground * FULL
    return np.asarray(inside & (depths.depth > settings.seed * FULL))


def find_foreground(depths: Depths, settings: DecodingSettings) -> MaskArray:
    """Voxels of objects; holes smaller than the smallest object are filled."""
    inside = np.asarray(depths.foreground > settings.foreground * FULL)
    if settings.min_voxels < 2:
        return inside
    holes, _ = label(~inside)
    sizes = np.bincount(holes.ravel())
    small = sizes < settings.min_voxels
    small[0] = False
    return np.asarray(inside | small[holes])


def label_seeds(depths: Depths, settings: DecodingSettings) -> tuple[LabelArray, int]:
    """Seeds numbered from 1, faces connecting, and how many there are."""
    return label(find_seeds(depths, settings))


def label(mask: MaskArray) -> tuple[LabelArray, int]:
    """Connected parts of a mask numbered from 1; faces connect."""
    import cc3d

    found = cc3d.connected_components(
        np.ascontiguousarray(mask), connectivity=4 if mask.ndim == 2 else 6
    )
    return found.astype(np.uint32), int(found.max(initial=0))


def flood(
    depths: Depths,
    seeds: LabelArray,
    settings: DecodingSettings,
    *,
    origin: Sequence[int] | None = None,
) -> LabelArray:
    """Seeds grown over the foreground, deep voxels first (scikit-image's watershed).

    Args:
        depths: Of an image or of a part of it.
        seeds: Numbers of seeds, 0 elsewhere.
        settings: Thresholds.
        origin: Where the part begins in its image: which of two equally deep voxels
            of seeds grows first follows from its place there, so that parts agree.
    """
    from skimage.segmentation import watershed

    inside = find_foreground(depths, settings)
    start = origin or (0,) * depths.depth.ndim
    height = (FULL - depths.depth).astype(np.float32)
    height += np.where(seeds > 0, _turns(seeds.shape, start), 0)
    grown = watershed(  # type: ignore[no-untyped-call]
        height, seeds.astype(np.int32), mask=inside
    )
    return np.asarray(grown).astype(np.uint32)


def _turns(shape: tuple[int, ...], start: Sequence[int]) -> np.ndarray:
    """For each voxel a share of a half, scattered by its place (Weyl's sequence)."""
    steps = (0.7548776662466927, 0.5698402909980532, 0.4301597090019468)
    along = [
        (np.arange(first, first + size) * step) % 1
        for first, size, step in zip(start, shape, steps[: len(shape)], strict=True)
    ]
    total = sum(np.ix_(*along), np.zeros((1,) * len(shape)))
    return np.asarray(total % 1 / 2, dtype=np.float32)


def without_small(labels: LabelArray, *, min_voxels: int) -> LabelArray:
    """Objects of enough voxels, renumbered from 1 without gaps."""
    sizes = np.bincount(labels.ravel())
    return np.asarray(kept_numbers(sizes, min_voxels=min_voxels)[labels])


def kept_numbers(sizes: np.ndarray, *, min_voxels: int) -> LabelArray:
    """New number of each old one; 0 for those that go.

    Args:
        sizes: Voxels of each number, those outside first.
        min_voxels: Smaller objects go.
    """
    keep = sizes >= max(min_voxels, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.uint32)
