"""How large a data set's typical case is at the target spacing."""

import numpy as np

from medseg.fingerprint import Fingerprint


def known_spacing(
    fingerprint: Fingerprint, spacing: tuple[float, float, float]
) -> np.ndarray:
    """The target, with the median where each scan keeps its own."""
    median = np.median(fingerprint.spacings, axis=0)
    return np.where(np.asarray(spacing) > 0, spacing, median)


def median_shape(
    fingerprint: Fingerprint, spacing: tuple[float, float, float], *, crop: bool
) -> np.ndarray:
    """Median voxels along each axis at the target spacing."""
    shapes = fingerprint.cropped_shapes if crop else fingerprint.shapes
    target = known_spacing(fingerprint, spacing)
    scaled = np.maximum(np.rint(shapes * fingerprint.spacings / target), 1)
    return np.asarray(np.median(scaled, axis=0))
