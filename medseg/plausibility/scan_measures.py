"""Geometry and intensities of a scan, as the network is given them.

Intensities are measured after the model's own normalisation, on a grid thinned to some
ten thousand voxels: raw units mean nothing in MR, and are kept by the plan's fixed
scale in CT. Measured of each channel are quantiles, the mean of the outer voxels, and
its profile: the mean rank of intensities in 8 x 8 x 8 blocks, then the quantiles. The
blocks' correlation with training's falls below zero when the contrast is inverted or
the scan is turned. Of several channels their correlations are measured, and the order:
how much better their profiles fit those of training in the order in which they were
given than in the best other one, which falls below zero when two are swapped.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import InputError
from medseg.geometry import Grid, says_nothing
from medseg.placement import slices_of
from medseg.plan import Plan
from medseg.plausibility.measure import Measures
from medseg.preparation.normalization import normalize
from medseg.preparation.preprocessing import (
    axes_with_last,
    choose_turn,
    nonzero_box,
    with_channels,
)
from medseg.training_ranges import Kind
from medseg.types import ImageArray
from medseg.volume import Volume

BLOCKS = 8
"""Along each axis of the mean picture."""
NUM_BLOCKS = BLOCKS**3
LEAST_SPREADS = (0.05, 0.1)
"""Added to deviations over cases of ranks in blocks, and of quantiles."""
MOST_VOXELS = 60_000
"""Of each channel that are looked at."""
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
"""Percentiles of normalised intensities."""
AXES = ("left to right", "back to front", "feet to head")
"""Of a scan that was brought closest to RAS+."""


@dataclass(frozen=True)
class Profiles:
    """What the channels of training's scans look like, each of shape (C, features)."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of_scans(cls, scans: Sequence["ScanMeasures"]) -> "Profiles":
        """Over scans; those with a channel that repeats another only where all do."""
        distinct = [scan.profile for scan in scans if scan.is_distinct]
        found = np.array(distinct or [scan.profile for scan in scans])
        return cls(found.mean(axis=0), found.std(axis=0))


@dataclass(frozen=True)
class ScanMeasures:
    """Measures of a scan, and the profile of each channel, shape (C, features)."""

    values: Measures
    profile: np.ndarray

    @property
    def is_distinct(self) -> bool:
        """Whether no channel repeats another, as it does in place of one not taken."""
        pairs = itertools.combinations(self.profile, 2)
        return not any(np.allclose(one, other) for one, other in pairs)

    def against(self, typical: Profiles) -> Measures:
        """All measures, given what training's scans look like."""
        found = dict(self.values)
        names = [of[0] for kind, of in self.values if kind == "rim"]
        for number, name in enumerate(names):
            found["layout", (name,)] = _correlation(
                self.profile[number, :NUM_BLOCKS], typical.mean[number, :NUM_BLOCKS]
            )
        if len(names) > 1 and self.is_distinct:
            others = _orders(len(names))
            best = max(_fit(self.profile[list(order)], typical) for order in others)
            found["order", tuple(names)] = _fit(self.profile, typical) - best
        return found


def _orders(count: int) -> list[tuple[int, ...]]:
    """Other orders of channels: all of few, and of many those with two swapped."""
    given = tuple(range(count))
    if count <= 4:
        return [order for order in itertools.permutations(given) if order != given]
    orders = []
    for a, b in itertools.combinations(given, 2):
        order = list(given)
        order[a], order[b] = b, a
        orders.append(tuple(order))
    return orders


def _fit(profile: np.ndarray, typical: Profiles) -> float:
    """Minus the mean squared distance, in deviations; blocks and quantiles alike."""
    size = profile.shape[1]
    quantiles = np.arange(size) >= NUM_BLOCKS
    least = np.where(quantiles, LEAST_SPREADS[1], LEAST_SPREADS[0])
    weights = np.where(quantiles, 1 / max(size - NUM_BLOCKS, 1), 1 / NUM_BLOCKS)
    distance = ((profile - typical.mean) / (typical.spread + least)) ** 2
    return -float((distance * weights).sum(axis=1).mean())


def measure_scan(volume: Volume, plan: Plan, *, name: str = "scan") -> ScanMeasures:
    """Measures of a scan; no voxel of it is changed.

    Args:
        volume: The scan as it was read; any orientation and spacing.
        plan: Of the model.
        name: Case or file, for error messages.

    Raises:
        InputError: The number of channels is not the plan's, or nothing is on it.
    """
    volume = with_channels(volume, plan.channel_names, name=name)
    turn = choose_turn(volume.affine, plan)
    turned = turn.apply(volume.voxels)
    grid = Grid(
        (int(turned.shape[1]), int(turned.shape[2]), int(turned.shape[3])),
        turn.apply_to_affine(volume.affine, volume.grid.shape),
    )
    values = _geometry(volume, grid, plan)
    thin = turned[(slice(None), *_steps(grid.shape))]
    if plan.crop_nonzero:
        thin = thin[(slice(None), *slices_of(nonzero_box(thin)))]
    image = normalize(np.ascontiguousarray(thin), plan.channels)
    if not np.isfinite(image).all():
        raise InputError(f"{name}: intensities are NaN or infinite")
    values |= _intensities(image, plan.channel_names)
    return ScanMeasures(values, np.stack([_profile(channel) for channel in image]))


def _geometry(
    volume: Volume, grid: Grid, plan: Plan
) -> dict[tuple[Kind, tuple[str, ...]], float]:
    """Of a picture nothing: it has no anatomical frame, and may be any tile."""
    if not plan.reorient:
        return {}
    values: dict[tuple[Kind, tuple[str, ...]], float] = {}
    values["directions", ()] = float(says_nothing(volume.affine))
    names = [AXES[axis] for axis in axes_with_last("ijk".index(plan.slice_axis))]
    for axis in range(plan.spatial_dims):
        spacing = grid.spacing[axis]
        values["spacing", (names[axis],)] = spacing
        values["extent", (names[axis],)] = spacing * grid.shape[axis]
    return values


def _intensities(
    image: ImageArray, names: Sequence[str]
) -> dict[tuple[Kind, tuple[str, ...]], float]:
    values: dict[tuple[Kind, tuple[str, ...]], float] = {}
    for name, channel in zip(names, image, strict=True):
        for percent, value in zip(
            QUANTILES, np.percentile(channel, QUANTILES), strict=True
        ):
            values["quantile", (name, str(percent))] = float(value)
        values["rim", (name,)] = float(channel[_rim(channel.shape)].mean())
    for a, b in itertools.combinations(range(len(names)), 2):
        r = _correlation(image[a], image[b])
        values["correlation", (names[a], names[b])] = r
    return values


def _steps(shape: Sequence[int]) -> tuple[slice, ...]:
    """Every nth voxel along each axis, so that few are left; thin axes stay whole."""
    steps = [1, 1, 1]
    left = list(shape)
    while np.prod(left) > MOST_VOXELS and max(left) > 2 * BLOCKS:
        axis = int(np.argmax(left))
        steps[axis] += 1
        left[axis] = -(-shape[axis] // steps[axis])
    return tuple(slice(None, None, step) for step in steps)


def _rim(shape: tuple[int, ...]) -> np.ndarray:
    """The outermost voxels along axes that have an inside."""
    rim = np.zeros(shape, dtype=bool)
    for axis, size in enumerate(shape):
        if size > 2:
            faces = np.moveaxis(rim, axis, 0)
            faces[0] = faces[-1] = True
    return rim if rim.any() else np.ones(shape, dtype=bool)


def _profile(channel: np.ndarray) -> np.ndarray:
    quantiles = np.percentile(channel, QUANTILES)
    return np.concatenate([_blocks(_ranks(channel)).ravel(), quantiles])


def _ranks(channel: np.ndarray) -> np.ndarray:
    """Each voxel's rank among all of the scan, 0 to 1; equal ones share theirs."""
    _, inverse, counts = np.unique(channel, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * (counts + 1)) / max(channel.size - 1, 1)
    return np.asarray(ranks[inverse].reshape(channel.shape))


def _blocks(channel: np.ndarray) -> np.ndarray:
    """Means in 8 x 8 x 8 blocks; a short axis repeats its voxels."""
    for axis in range(3):
        size = channel.shape[axis]
        edges = np.linspace(0, size, BLOCKS + 1)
        starts = np.minimum(np.floor(edges[:-1]).astype(int), size - 1)
        stops = np.maximum(np.ceil(edges[1:]).astype(int), starts + 1)
        parts = [
            channel.take(range(start, stop), axis=axis).mean(axis=axis)
            for start, stop in zip(starts, stops, strict=True)
        ]
        channel = np.stack(parts, axis=axis)
    return channel.astype(np.float64)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r; 0 where one of the two is the same everywhere."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 1e-12 else 0.0
