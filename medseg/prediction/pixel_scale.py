"""Pictures that say how large a pixel is, and models that never knew, and vice versa.

A model of PNG pictures was trained on pixels, whose size counts as 1 mm. A microscope's
TIFF says 0.5 µm: brought onto the model's grid it would shrink to nothing.
"""

import numpy as np

from medseg.errors import InputError
from medseg.geometry import affine_from_spacing
from medseg.plan import Plan
from medseg.types import Affine
from medseg.volume import Volume

_LARGEST_MM = 0.05
"""Pixels up to this size are a microscope's."""
_SAME_SCALE = 1.1
"""Sides of pixels that differ by a smaller factor show cells of equal size."""


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


def require_scale(affine: Affine, plan: Plan, *, name: str, notes: list[str]) -> None:
    """Refuses a picture whose pixels are not of the size that the model counts in.

    In tiles nothing is resampled, as it is in memory.

    Args:
        affine: Of the picture.
        plan: Of the model.
        name: Of the picture, for the message.
        notes: Told of what is taken for a pixel.

    Raises:
        InputError: They are larger or smaller by a tenth.
    """
    pixel = Volume(np.zeros((1, 1, 1, 1), np.uint8), affine)
    own = at_training_scale(pixel, plan, notes=notes).grid.spacing[:2]
    wanted = plan.target_spacing[:2]
    ratios = [a / b for a, b in zip(own, wanted, strict=True)]
    if all(1 / _SAME_SCALE <= ratio <= _SAME_SCALE for ratio in ratios):
        return
    shown = [" x ".join(f"{mm * 1000:.4g}" for mm in size) for size in (own, wanted)]
    raise InputError(
        f"{name}: pixels of {shown[0]} µm, the model was trained on {shown[1]} µm, and "
        "a picture that goes through in tiles is not resampled; save it with pixels of "
        "that size, or give it the memory to go through whole (--max-ram)"
    )
