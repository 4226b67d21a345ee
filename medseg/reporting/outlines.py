"""A picture with the outline of each object, pixel for pixel."""

from pathlib import Path

import numpy as np

from medseg.files import atomic_write
from medseg.types import ImageArray, LabelArray

COLOUR = (255, 214, 0)
"""Seen on dark and on light grounds, on grey and on purple."""


def write_outlines(
    path: Path, image: ImageArray, labels: LabelArray, *, background: int = 0
) -> None:
    """Writes a PNG of a picture of the same size, outlines of objects drawn inside.

    Args:
        path: The PNG.
        image: The picture, shape (C, I, J); three channels are colours.
        labels: Object numbers, shape (I, J).
        background: The value outside of objects.

    Raises:
        OutputError: The file cannot be written.
    """
    from PIL import Image
    from skimage.segmentation import find_boundaries

    ground = _shown(image)
    objects = np.where(labels == background, 0, labels.astype(np.int64))
    edges = find_boundaries(objects, mode="inner")  # type: ignore[no-untyped-call]
    ground[edges] = COLOUR
    with atomic_write(path) as temporary:
        Image.fromarray(ground.transpose(1, 0, 2)).save(temporary, format="PNG")


def _shown(image: ImageArray) -> np.ndarray:
    """Colours from 0 to 255, uint8, shape (I, J, 3); faint pictures are stretched."""
    channels = image if len(image) == 3 else image[:1]
    values = channels.astype(np.float32)
    low, high = np.percentile(values, [0.5, 99.8])
    shares = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
    colours = np.broadcast_to((shares * 255).astype(np.uint8), (3, *image.shape[1:]))
    return np.ascontiguousarray(colours.transpose(1, 2, 0))
