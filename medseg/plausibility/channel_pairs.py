"""Which of two channels is which: in what they differ in training's scans.

Of each pair of channels numbers are measured that change their sign when the two change
places: how much more often voxels are bright in the one and dark in the other than the
other way round (classes of ranks), how lopsided the difference of ranks is, how much
the shapes of their histograms differ, and in which parts of the picture the one is
brighter. What both show, the patient, cancels out. They are measured before the
model's normalisation, which may treat channels differently, each channel brought to
the same scale: what a channel is called must make no difference.

In training's scans such differences lie around a mean m, in scans whose two channels
are swapped around -m, with the same covariance C. Fisher's linear discriminant between
the two is the direction C⁻¹m; C is regularised, as there are more numbers than scans.
How well an order of channels fits is the sum over pairs of the products with their
directions, and the margin how much better the given order fits than the best other one.

References:
    Fisher, Annals of Eugenics 1936, doi:10.1111/j.1469-1809.1936.tb02137.x.
    Friedman, Regularized discriminant analysis, J Am Stat Assoc 1989,
        doi:10.1080/01621459.1989.10478752.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from medseg.types import ImageArray

CLASSES = 6
"""Of ranks in the table of how often voxels are bright in one and dark in the other."""
TAILS = (1, 5, 25, 50)
"""Percentiles of differences of ranks that are set against the opposite ones."""
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
"""Percentiles that say the shape of a histogram."""
BLOCKS = 8
"""Along each axis of the mean picture."""
NUM_BLOCKS = BLOCKS**3
NUM_TONES = CLASSES * (CLASSES - 1) // 2 + len(TAILS) + len(QUANTILES)
"""Numbers of a pair that say nothing about places; the picture's follow."""
SHARE_OF_TONES = 0.2
"""Of all numbers' weight together; the picture has the rest."""
RIDGE = 1.0
"""Added to the covariance, in means of its variances."""
MOST_FOR_ALL_ORDERS = 4
"""Channels up to which all orders are compared; of more, those with two swapped."""

Order = tuple[int, ...]
"""For each channel of the model, the number of the given one that is taken for it."""


def pairs_of(count: int) -> list[tuple[int, int]]:
    """All pairs of channels."""
    return list(itertools.combinations(range(count), 2))


def orders_of(count: int) -> list[Order]:
    """Orders of channels that are compared, the given one first."""
    given = tuple(range(count))
    if count <= MOST_FOR_ALL_ORDERS:
        return list(itertools.permutations(given))
    return [given, *(swapped(count, a, b) for a, b in pairs_of(count))]


def swapped(count: int, a: int, b: int) -> Order:
    """The order in which two channels have changed places."""
    order = list(range(count))
    order[a], order[b] = b, a
    return tuple(order)


def pair_differences(image: ImageArray) -> np.ndarray:
    """In what each pair of channels differs, shape (pairs, numbers).

    Args:
        image: Channels in whatever units they have, shape (C, I, J, K).
    """
    mean = np.mean([_standardised(channel) for channel in image], axis=0)
    low, high = np.percentile(mean, (1, 99))
    inside = mean > low + 0.1 * (high - low)
    if not inside.any():
        inside = np.ones(mean.shape, dtype=np.bool_)
    tones = [channel[inside] for channel in image]
    levels = [ranks(tone) for tone in tones]
    shapes = [_shape(tone) for tone in tones]
    pictures = [blocks(ranks(channel)).ravel() for channel in image]
    rows = [
        np.concatenate(
            [
                _tones(levels[a], levels[b]),
                shapes[a] - shapes[b],
                pictures[a] - pictures[b],
            ]
        )
        for a, b in pairs_of(len(image))
    ]
    return np.array(rows).reshape(len(rows), NUM_TONES + NUM_BLOCKS)


def fit_directions(differences: np.ndarray) -> np.ndarray:
    """The discriminant of each pair, shape (pairs, numbers).

    Orders' fits of the scans that it was found on spread by a median of 1.

    Args:
        differences: Of training's scans, shape (N, pairs, numbers).
    """
    rows = [_discriminant(differences[:, n]) for n in range(differences.shape[1])]
    directions = np.array(rows)
    spreads = [float(np.ptp(fits(scan, directions))) for scan in differences]
    return np.asarray(directions / max(float(np.median(spreads)), 1e-9))


def fits(differences: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How well each order of a scan's channels fits training's, as `orders_of`.

    Args:
        differences: Of the scan, shape (pairs, numbers).
        directions: Of training, of the same shape.
    """
    pairs = pairs_of(_num_channels(len(differences)))
    products = directions @ differences.T
    number = {pair: n for n, pair in enumerate(pairs)}
    found = []
    for order in orders_of(_num_channels(len(differences))):
        total = 0.0
        for n, (a, b) in enumerate(pairs):
            taken = (order[a], order[b])
            sign = 1 if taken in number else -1
            total += sign * products[n, number[taken if sign > 0 else taken[::-1]]]
        found.append(total)
    return np.array(found)


def best_other(differences: np.ndarray, directions: np.ndarray) -> tuple[float, Order]:
    """How much better the given order fits than the best other one, and that one.

    Returns:
        From -1, where the other is right without doubt, to 1; and the order.
    """
    found = fits(differences, directions)
    best = int(found[1:].argmax()) + 1
    margin = (found[0] - found[best]) / (float(np.ptp(found)) + 1)
    return float(margin), orders_of(_num_channels(len(differences)))[best]


def reordered(differences: np.ndarray, order: Order) -> np.ndarray:
    """The differences of a scan whose channels are in another order.

    Args:
        differences: Of the scan, shape (pairs, numbers).
        order: The number of the channel that takes each place.
    """
    pairs = pairs_of(len(order))
    number = {pair: n for n, pair in enumerate(pairs)}
    rows = []
    for a, b in pairs:
        taken = (order[a], order[b])
        rows.append(
            differences[number[taken]]
            if taken in number
            else -differences[number[taken[::-1]]]
        )
    return np.array(rows)


def names_as_they_look(names: Sequence[str], order: Order) -> tuple[str, ...]:
    """What each given channel looks like, where an order fits.

    Args:
        names: Of the model's channels.
        order: Which given channel is taken for each of them.
    """
    looks = dict(zip(order, names, strict=True))
    return tuple(looks[number] for number in range(len(names)))


def ranks(channel: np.ndarray) -> np.ndarray:
    """Each voxel's rank among all, 0 to 1; equal ones share theirs."""
    _, inverse, counts = np.unique(channel, return_inverse=True, return_counts=True)
    found = (np.cumsum(counts) - 0.5 * (counts + 1)) / max(channel.size - 1, 1)
    return np.asarray(found[inverse].reshape(channel.shape))


def blocks(channel: np.ndarray) -> np.ndarray:
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


def _standardised(channel: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1."""
    values = channel.astype(np.float32)
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def _num_channels(num_pairs: int) -> int:
    """Of how many channels there are so many pairs."""
    return (1 + math.isqrt(1 + 8 * num_pairs)) // 2


def _tones(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What ranks of the same voxels say, with the sign of which channel comes first."""
    a, b = (
        np.minimum((r * CLASSES).astype(np.intp), CLASSES - 1) for r in (one, other)
    )
    table = np.bincount(a * CLASSES + b, minlength=CLASSES**2)
    shares = np.sqrt(table.reshape(CLASSES, CLASSES) / one.size)
    lopsided = (shares - shares.T)[np.triu_indices(CLASSES, 1)]
    apart = one - other
    opposite = [100 - percent for percent in TAILS]
    tails = np.percentile(apart, TAILS) + np.percentile(apart, opposite)
    return np.concatenate([lopsided, tails])


def _shape(tone: np.ndarray) -> np.ndarray:
    """Quantiles from the median, in widths from the 5th to the 95th percentile."""
    found = np.percentile(tone, QUANTILES)
    return np.asarray((found - found[3]) / max(float(found[5] - found[1]), 1e-6))


def _discriminant(differences: np.ndarray) -> np.ndarray:
    """C⁻¹m of one pair; inverted among scans, of which there are fewer than numbers.

    Args:
        differences: Of training's scans, shape (N, numbers).
    """
    count, size = differences.shape
    scale = np.sqrt((differences**2).mean(axis=0))
    scale += 1e-3 * scale.mean() + 1e-9
    share = np.full(size, (1 - SHARE_OF_TONES) / NUM_BLOCKS)
    share[:NUM_TONES] = SHARE_OF_TONES / NUM_TONES
    scale /= np.sqrt(share)
    scaled = differences / scale
    mean = scaled.mean(axis=0)
    rest = scaled - mean
    ridge = RIDGE * float((rest**2).sum()) / count / size + 1e-9
    among = rest @ rest.T / count + ridge * np.eye(count)
    found = (mean - rest.T @ np.linalg.solve(among, rest @ mean) / count) / ridge
    spread = float((scaled @ found).std())
    found /= spread if spread > 1e-9 else max(float(np.linalg.norm(found)), 1e-9)
    return np.asarray(found / scale)
