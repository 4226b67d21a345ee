"""How far a network of others sees, measured: no rule is known for its layers.

The gradient of one voxel's logits is followed to the input in a copy whose weights are
positive, whose maxima are means and whose non-linearities are gone, so that nothing
cancels or is switched off. Statistics over the whole patch are left out, as usual.
"""

import warnings

from medseg.networks.analysis.receptive_field import (
    ReceptiveField,
    reach_by_gradient,
)
from medseg.networks.network import SegmentationNetwork

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
