"""Values that mark what is not to be scored: rims along borders, telling names."""

import numpy as np

from medseg.labels import LabelScheme
from medseg.types import LabelArray

RIM_VALUE = 255
"""What PASCAL VOC, Cityscapes, ADE20K's followers and many tools store there."""
IGNORED_NAMES = {
    "ignore", "ignored", "void", "unlabeled", "unlabelled", "unknown", "dontcare",
    "donotcare", "border", "boundary", "uncertain",
}  # fmt: skip
_HALF_WIDTH = 4
"""Pixels after which a rim of VOC's, some five wide, is gone from both sides."""
_LEFT = 0.05


def is_rim(voxels: LabelArray, value: int = RIM_VALUE) -> bool:
    """Whether a value lies along the borders of structures and nowhere else.

    That is where it touches another structure and nearly nothing of it lies further
    than four voxels inside.

    Args:
        voxels: Label values, shape (I, J, K).
        value: Which one is in question.
    """
    from scipy import ndimage

    rim = voxels == value
    others = (voxels != 0) & ~rim
    if not rim.any() or not others.any():
        return False
    if not (ndimage.binary_dilation(rim) & others).any():
        return False
    inner = ndimage.binary_erosion(rim, iterations=_HALF_WIDTH, border_value=1)
    return bool(np.count_nonzero(inner) <= _LEFT * np.count_nonzero(rim))


def ignored_by_name(scheme: LabelScheme) -> dict[str, int]:
    """Structures whose name says that they are not to be scored."""
    return {
        name: value
        for name, value in scheme.names.items()
        if "".join(filter(str.isalpha, name.lower())) in IGNORED_NAMES
    }
