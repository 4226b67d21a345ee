"""A label map on the scan's own grid that is written while logits arrive."""

import numpy as np

from medseg.inference.interpolation import axis_weights
from medseg.inference.label_writer import LabelWriter
from medseg.labels import LabelScheme
from medseg.placement import Placement, slices_of
from medseg.volume import LabelMap


def start_label_map(
    placement: Placement, scheme: LabelScheme
) -> tuple[LabelMap, LabelWriter]:
    """A label map that is background everywhere, and what fills it.

    The writer writes through the scan's reorientation and crop right into the label
    map; nothing of the scan's size exists beside it.

    Args:
        placement: What `preprocess` returned for the scan.
        scheme: Turns classes into the values that files hold.
    """
    values = scheme.to_values(np.arange(scheme.num_classes, dtype=np.uint8))
    voxels = np.full(placement.source.shape, scheme.background, dtype=values.dtype)
    turned = placement.reorientation.apply(voxels)
    writer = LabelWriter(
        turned[slices_of(placement.crop)],
        scheme,
        values=values,
        weights=axis_weights(placement) if placement.is_resampled else None,
    )
    return LabelMap(voxels, placement.source.affine), writer


def start_indices(
    shape: tuple[int, ...], scheme: LabelScheme
) -> tuple[np.ndarray, LabelWriter]:
    """Label indices on the prepared grid, and what fills them."""
    indices = np.zeros(shape, dtype=np.uint8)
    every = np.arange(scheme.num_classes, dtype=np.uint8)
    return indices, LabelWriter(indices, scheme, values=every)
