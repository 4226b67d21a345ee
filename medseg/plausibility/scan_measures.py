"""Geometry and intensities of a scan, as the network is given them.

Intensities are measured after the model's own normalisation, on a grid thinned to some
ten thousand voxels: raw units mean nothing in MR, and are kept by the plan's fixed
scale in CT. Measured of each channel are quantiles, the mean of the outer voxels, and
its profile: the mean rank of intensities in 8 x 8 x 8 blocks, then the quantiles. The
blocks' correlation with training's falls below zero when the contrast is inverted or
the scan is turned. Of several channels their correlations are measured, and the
arrangement: how much better they fit training in the order in which they were given
than in the best other one, which falls below zero when two are swapped.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import InputError
from medseg.geometry import Grid, says_nothing
from medseg.placement import slices_of
from medseg.plan import Plan
from medseg.plausibility.channel_pairs import (
    BLOCKS,
    NUM_BLOCKS,
    QUANTILES,
    best_other,
    blocks,
    fit_directions,
    names_as_they_look,
    pair_differences,
    ranks,
)
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

MOST_VOXELS = 60_000
"""Of each channel that are looked at."""
AXES = ("left to right", "back to front", "feet to head")
"""Of a scan that was brought closest to RAS+."""


@dataclass(frozen=True)
class Profiles:
    """What the channels of training's scans look like.

    Attributes:
        mean: Of profiles over scans, shape (C, features).
        directions: What tells each pair of channels apart, shape (pairs, numbers);
            none where that was not fitted.
    """

    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def of_scans(cls, scans: Sequence["ScanMeasures"]) -> "Profiles":
        """Over scans; those with a channel that repeats another only where all do."""
        distinct = [scan for scan in scans if scan.is_distinct]
        found = np.array([scan.profile for scan in distinct or scans])
        directions = np.zeros((0, 0))
        if distinct and len(found[0]) > 1:
            directions = fit_directions(np.array([scan.pairs for scan in distinct]))
        return cls(found.mean(axis=0), directions)


@dataclass(frozen=True)
class ScanMeasures:
    """Measures of a scan.

    Attributes:
        values: Those that need nothing to be compared with.
        profile: Of each channel, shape (C, features).
        pairs: In what each pair of channels differs, shape (pairs, numbers).
    """

    values: Measures
    profile: np.ndarray
    pairs: np.ndarray

    @property
    def is_distinct(self) -> bool:
        """Whether no channel repeats another, as it does in place of one not taken."""
        pairs = itertools.combinations(self.profile, 2)
        return not any(np.allclose(one, other) for one, other in pairs)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in the model's order."""
        return tuple(of[0] for kind, of in self.values if kind == "rim")

    def against(self, typical: Profiles) -> Measures:
        """All measures, given what training's scans look like."""
        found = dict(self.values)
        for number, name in enumerate(self.channels):
            found["layout", (name,)] = _correlation(
                self.profile[number, :NUM_BLOCKS], typical.mean[number, :NUM_BLOCKS]
            )
        if typical.directions.size and self.is_distinct:
            margin, order = best_other(self.pairs, typical.directions)
            looks = names_as_they_look(self.channels, order)
            found["arrangement", looks] = margin
        return found


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
    profiles = np.stack([_profile(channel) for channel in image])
    return ScanMeasures(values, profiles, pair_differences(thin))


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
    return np.concatenate([blocks(ranks(channel)).ravel(), quantiles])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r; 0 where one of the two is the same everywhere."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 1e-12 else 0.0
