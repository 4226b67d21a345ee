"""Pictures that say how large a pixel is, and models that never knew, and vice versa.

A model of PNG pictures was trained on pixels, whose size counts as 1 mm. A microscope's
TIFF says 0.5 µm: brought onto the model's grid it would shrink to nothing.
"""

import numpy as np

from medseg.geometry import affine_from_spacing
from medseg.plan import Plan
from medseg.volume import Volume

_LARGEST_MM = 0.05
"""Pixels up to this size are a microscope's."""


def at_training_scale(volume: Volume, plan: Plan, *, notes: list[str]) -> Volume:
    """The picture with the size of pixels that a model of pictures counts in.

    Only where one of the two, training and picture, says a microscope's size and the
    other none; else the volume itself.

    Args:
        volume: The scan as it was read.
        plan: Of the model.
        notes: Told of what is taken for a pixel.
    """
    if plan.spatial_dims != 2:
        return volume
    size = plan.target_spacing[:2]
    own = volume.grid.spacing[:2]
    if size == (1.0, 1.0) and max(own) <= _LARGEST_MM:
        notes.append(
            "segmented pixel by pixel: the training pictures said no pixel size"
        )
        return Volume(volume.voxels, np.eye(4))
    if own == (1.0, 1.0) and 0 < max(size) <= _LARGEST_MM:
        notes.append(
            f"says no pixel size; {size[0] * 1000:.4g} x {size[1] * 1000:.4g} µm are "
            "taken, as in training"
        )
        return Volume(volume.voxels, affine_from_spacing((size[0], size[1], 1.0)))
    return volume
