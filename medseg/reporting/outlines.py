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

    drawn = draw_outlines(image, labels, span=span_of(image), background=background)
    with atomic_write(path) as temporary:
        Image.fromarray(drawn.transpose(1, 0, 2)).save(temporary, format="PNG")


def draw_outlines(
    image: ImageArray,
    labels: LabelArray,
    *,
    span: tuple[float, float],
    background: int = 0,
) -> np.ndarray:
    """A picture in colours, outlines of objects drawn inside them.

    Args:
        image: The picture, shape (C, I, J); three channels are colours.
        labels: Object numbers, shape (I, J).
        span: Intensities that are shown as black and as white.
        background: The value outside of objects.

    Returns:
        Colours from 0 to 255, uint8, shape (I, J, 3).
    """
    from skimage.segmentation import find_boundaries

    low, high = span
    shares = (_shown(image).astype(np.float32) - low) / max(high - low, 1e-6)
    colours = (np.clip(shares, 0, 1) * 255).astype(np.uint8)
    colours = np.broadcast_to(colours, (3, *image.shape[1:])).transpose(1, 2, 0)
    ground = np.ascontiguousarray(colours)
    objects = np.where(labels == background, 0, labels.astype(np.int64))
    edges = find_boundaries(objects, mode="inner")  # type: ignore[no-untyped-call]
    ground[edges] = COLOUR
    return ground


def span_of(image: ImageArray) -> tuple[float, float]:
    """Intensities of a picture to show as black and as white: faint ones are seen.

    Args:
        image: A picture or some pixels of it, channels first.
    """
    low, high = np.percentile(_shown(image).astype(np.float32), [0.5, 99.8])
    return float(low), float(high)


def _shown(image: ImageArray) -> ImageArray:
    """The channels that are shown: three as colours, else the first in grey."""
    return image if len(image) == 3 else image[:1]
