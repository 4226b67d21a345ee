"""What a network really looks at: the effective receptive field, and its reach.

References:
    Luo et al., "Understanding the effective receptive field in deep convolutional
    neural networks", arXiv:1701.04128: much smaller than the theoretical one and
    close to a Gaussian.

Where no rule is known for a network's layers, its reach is measured: the gradient of
one voxel's logits is followed to the input in a copy whose weights are positive, whose
maxima are means and whose non-linearities are gone, so that nothing cancels or is
switched off. Statistics over the whole patch are left out, as usual.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch

from medseg.networks.analysis.receptive_field import (
    ReceptiveField,
    reach_by_gradient,
)
from medseg.networks.network import SegmentationNetwork

SHARES = (0.5, 0.9, 0.99)


def effective_field(
    network: SegmentationNetwork,
    size: Sequence[int],
    *,
    images: torch.Tensor | None = None,
    num_samples: int = 8,
    seed: int = 0,
) -> np.ndarray:
    """Mean absolute gradient of the centre's logits by the input.

    Args:
        network: In the state (trained or fresh) that is of interest.
        size: Spatial size of the input.
        images: Real images of shape (N, C, *size); by default standard normal noise.
        num_samples: Number of noise images.
        seed: Of the noise and of the random signs given to the logits.

    Returns:
        Array of shape `size` that sums to 1.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (1, network.in_channels, *size)
    device = next(network.parameters()).device
    total = torch.zeros(tuple(size), dtype=torch.float64)
    samples = (
        [torch.randn(shape, generator=generator) for _ in range(num_samples)]
        if images is None
        else list(torch.split(images, 1))
    )
    middle = int(np.ravel_multi_index([n // 2 for n in size], tuple(size)))
    training = network.training
    network.eval()
    for sample in samples:
        x = sample.to(device, torch.float32).requires_grad_()
        logits = network(x)
        assert isinstance(logits, torch.Tensor)
        centre = logits[0].flatten(1)[:, middle]
        signs = torch.randn(centre.shape, generator=generator).to(device)
        (gradient,) = torch.autograd.grad((centre * signs).sum(), x)
        total += gradient.abs().sum(dim=(0, 1)).double().cpu()
    network.train(training)
    return (total / total.sum()).numpy()


def radii_holding(
    field: np.ndarray,
    shares: Sequence[float] = SHARES,
    *,
    spacing: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """Radii about the centre that hold given shares of a field's mass.

    Args:
        field: What `effective_field` returned.
        shares: Between 0 and 1.
        spacing: Voxel size along each axis, for radii in mm rather than voxels.
    """
    distance = _distances(field.shape, spacing or (1.0,) * field.ndim)
    order = np.argsort(distance, axis=None, kind="stable")
    mass = np.cumsum(field.ravel()[order]) / field.sum()
    places = np.minimum(np.searchsorted(mass, shares), mass.size - 1)
    return tuple(float(distance.ravel()[order][place]) for place in places)


def share_beyond(field: np.ndarray, radius: Sequence[int | None]) -> float:
    """Share of a field's mass that lies beyond a box about the centre.

    Args:
        field: What `effective_field` returned.
        radius: Voxels to each side of the centre along each axis; None for all.
    """
    outside = np.zeros(field.shape, dtype=bool)
    for axis, reach in enumerate(radius):
        if reach is None:
            continue
        away = np.abs(np.arange(field.shape[axis]) - field.shape[axis] // 2) > reach
        shape = [1] * field.ndim
        shape[axis] = -1
        outside |= away.reshape(shape)
    return float(field[outside].sum() / field.sum())


def half_widths_holding(field: np.ndarray, share: float) -> tuple[int, ...]:
    """Voxels to each side of the centre, per axis, that hold a share of the mass.

    The number that chooses the overlap of tiles along each axis.
    """
    widths = []
    for axis in range(field.ndim):
        others = tuple(a for a in range(field.ndim) if a != axis)
        profile = field.sum(axis=others)
        (radius,) = radii_holding(profile, (share,))
        widths.append(int(radius))
    return tuple(widths)


def _distances(shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    axes = [
        (np.arange(n) - n // 2) * step for n, step in zip(shape, spacing, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    distances: np.ndarray = np.sqrt(sum(axis**2 for axis in grid))
    return distances


LONGEST = 256
"""Voxels of an axis beyond which a field counts as the whole image."""


def measured_field(network: SegmentationNetwork) -> ReceptiveField | None:
    """The largest field of two neighbouring output voxels, axis by axis.

    What is returned may be short of the true one by less than a stride, as the fields
    of other voxels reach a little farther; no exact tiles are built on it.

    Returns:
        None where the network cannot be followed so.
    """
    extents: list[int | None] = []
    radii: list[int | None] = []
    for axis in range(network.spatial_dims):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of layers of others
                extent, radius = _along(network, axis)
        except Exception:  # noqa: BLE001 - whatever layers of others raise
            return None
        extents.append(extent)
        radii.append(radius)
    return ReceptiveField(tuple(extents), tuple(radii))


def _along(network: SegmentationNetwork, axis: int) -> tuple[int | None, int | None]:
    """Extent and radius in an input that is long along one axis alone."""
    size = 64
    while size <= LONGEST:
        wanted = [2 * step for step in network.divisor]
        wanted[axis] = size
        fitting = network.core.input_size(tuple(wanted))
        places = []
        for offset in range(min(2, network.divisor[axis])):
            position = [n // 2 for n in fitting]
            position[axis] += offset
            first, last = reach_by_gradient(network, fitting, position)[axis]
            places.append((position[axis], first, last))
        if all(first > 0 and last < fitting[axis] - 1 for _, first, last in places):
            extent = max(last - first + 1 for _, first, last in places)
            radius = max(max(at - first, last - at) for at, first, last in places)
            return extent, radius
        size *= 2
    return None, None
