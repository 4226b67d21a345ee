"""The part of a scan that needs the network; the rest is background."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from medseg.inference.interpolation import positions
from medseg.inference.tiling import Box
from medseg.placement import CropBox, Placement, crop_grid
from medseg.plan import ChannelPlan, Plan
from medseg.types import ImageArray, LabelArray

Roi: TypeAlias = Literal["auto", "all", "body", "coarse"]
"""``all`` looks everywhere; ``body`` where a CT is denser than air; ``coarse`` about
what the network finds in every second voxel; ``auto`` is ``body`` for CT, else
``all``."""

AIR_HU = -500.0
"""Below this a voxel of a CT is air (or lung, which the body's box holds)."""

LEAST_SHARE = 0.001
"""A slice with a smaller share of denser voxels is not of the body."""

COARSE_STEP = 2
"""Every so many voxels the first of two passes looks."""

LEAST_GAIN = 0.9
"""A box of more than this share of the scan is not worth a remark."""


@dataclass(frozen=True)
class RegionOfInterest:
    """A part of a prepared scan.

    Attributes:
        box: Its voxels.
        note: What was left out and why, in words.
    """

    box: Box
    note: str


def find_region(
    image: ImageArray,
    plan: Plan,
    roi: Roi,
    *,
    find_coarsely: Callable[[ImageArray], LabelArray],
) -> RegionOfInterest | None:
    """The part to segment; None for all of the scan.

    Args:
        image: Prepared scan, shape (C, I, J, K).
        plan: Says which channel is a CT.
        roi: How to look.
        find_coarsely: Label indices of a coarser image, for the first of two passes.
    """
    if roi == "coarse":
        coarse = np.ascontiguousarray(image[(slice(None), *_steps(plan))])
        found = find_coarsely(coarse) > 0
        steps = [part.step for part in _steps(plan)]
        margin = [n // 2 for n in _patch(plan)]
        why = "a first pass over every second voxel found nothing beyond"
        return _region(found, image, steps, margin, why)
    channel = _ct_channel(plan)
    if roi == "all" or channel is None:
        return None
    dense = image[channel] > air_limit(plan.channels[channel])
    margin = [n // 8 for n in _patch(plan)]
    why = f"denser than air ({AIR_HU:g} HU) is nothing beyond"
    return _region(dense, image, [1, 1, 1], margin, why)


def air_limit(channel: ChannelPlan) -> float:
    """The normalised intensity of air's upper limit.

    Where everything up to a higher value was clipped, just above that value.
    """
    low = AIR_HU if channel.clip is None else max(AIR_HU, channel.clip[0])
    return (low - channel.mean) / channel.std + 1e-3


def narrowed(placement: Placement, box: Box) -> Placement | None:
    """The placement of a part of the prepared scan; None where no voxel lies in it."""
    pairs = []
    for axis, (part, where) in enumerate(zip(box, positions(placement), strict=True)):
        held = np.flatnonzero((where >= part.start - 0.5) & (where < part.stop - 0.5))
        if not len(held):
            return None
        start = placement.crop[axis][0]
        pairs.append((start + int(held[0]), start + int(held[-1]) + 1))
    crop: CropBox = (pairs[0], pairs[1], pairs[2])
    voxels: CropBox = tuple((part.start, part.stop) for part in box)  # type: ignore[assignment]
    return replace(placement, crop=crop, prepared=crop_grid(placement.prepared, voxels))


def _region(
    found: np.ndarray,
    image: ImageArray,
    steps: list[int],
    margin: list[int],
    why: str,
) -> RegionOfInterest | None:
    """The box about what was found, with a margin; None where it gains too little."""
    box = []
    for axis, whole in enumerate(image.shape[1:]):
        others = tuple(a for a in range(3) if a != axis)
        share = found.mean(axis=others)
        rows = np.flatnonzero(share >= min(LEAST_SHARE, share.max() or 1))
        if not len(rows):
            return None
        first = int(rows[0]) * steps[axis] - margin[axis]
        last = (int(rows[-1]) + 1) * steps[axis] + margin[axis]
        box.append(slice(max(first, 0), min(last, whole)))
    share_held = float(
        np.prod([part.stop - part.start for part in box]) / np.prod(image.shape[1:])
    )
    if share_held > LEAST_GAIN:
        return None
    size = " x ".join(str(part.stop - part.start) for part in box)
    whole_size = " x ".join(str(n) for n in image.shape[1:])
    note = f"segmented {size} of {whole_size} prepared voxels: {why}; --roi all for all"
    return RegionOfInterest(tuple(box), note)


def _steps(plan: Plan) -> list[slice]:
    flat = plan.spatial_dims == 2
    last = 1 if flat else COARSE_STEP
    return [slice(None, None, step) for step in (COARSE_STEP, COARSE_STEP, last)]


def _patch(plan: Plan) -> tuple[int, ...]:
    return (*plan.patch_size, 0) if plan.spatial_dims == 2 else plan.patch_size


def _ct_channel(plan: Plan) -> int | None:
    return next(
        (n for n, one in enumerate(plan.channels) if one.normalization == "ct"), None
    )
