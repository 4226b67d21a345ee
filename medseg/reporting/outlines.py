"""A picture with outlines of objects or structures, pixel for pixel."""

from pathlib import Path

import numpy as np

from medseg.files import atomic_write
from medseg.instances.object_colouring import neighbours
from medseg.instances.object_palette import object_colours
from medseg.labels import LabelScheme
from medseg.structure_colors import rgb_of
from medseg.types import ImageArray, LabelArray


def write_object_outlines(
    path: Path, image: ImageArray, labels: LabelArray, *, background: int = 0
) -> None:
    """Writes a PNG of a picture of the same size, outlines of objects drawn inside.

    Each object has a colour of its own, or one that is far away has the same.

    Args:
        path: The PNG.
        image: The picture, shape (C, I, J); three channels are colours.
        labels: Object numbers, shape (I, J).
        background: The value outside of objects.

    Raises:
        OutputError: The file cannot be written.
    """
    values, places = np.unique(labels[labels != background], return_inverse=True)
    numbers = np.zeros(labels.shape, np.int64)
    numbers[labels != background] = places + 1
    colours = object_colours(len(values), neighbours(numbers[..., None], flat=True))
    _write(path, draw_outlines(image, numbers, span=span_of(image), colours=colours))


def write_structure_outlines(
    path: Path, image: ImageArray, labels: LabelArray, *, scheme: LabelScheme
) -> None:
    """Writes a PNG of a picture of the same size, structures outlined in their colours.

    Args:
        path: The PNG.
        image: The picture, shape (C, I, J); three channels are colours.
        labels: Values as in files, shape (I, J).
        scheme: What they mean; the colours are those of pages.

    Raises:
        OutputError: The file cannot be written.
    """
    indices = np.zeros(labels.shape, np.int64)
    for index, value in enumerate(scheme.names.values(), start=1):
        indices[labels == value] = index
    colours = [(0, 0, 0), *(rgb_of(n + 1) for n in range(len(scheme.names)))]
    drawn = draw_outlines(
        image, indices, span=span_of(image), colours=np.array(colours, np.uint8)
    )
    _write(path, drawn)


def draw_outlines(
    image: ImageArray,
    numbers: LabelArray,
    *,
    span: tuple[float, float],
    colours: np.ndarray,
) -> np.ndarray:
    """A picture in colours, outlines of what is numbered drawn inside it.

    Args:
        image: The picture, shape (C, I, J); three channels are colours.
        numbers: Of objects or structures, 0 outside, shape (I, J).
        span: Intensities that are shown as black and as white.
        colours: Red, green and blue of each number, shape (numbers, 3).

    Returns:
        Colours from 0 to 255, uint8, shape (I, J, 3).
    """
    from skimage.segmentation import find_boundaries

    low, high = span
    shares = (_shown(image).astype(np.float32) - low) / max(high - low, 1e-6)
    grey = (np.clip(shares, 0, 1) * 255).astype(np.uint8)
    grey = np.broadcast_to(grey, (3, *image.shape[1:])).transpose(1, 2, 0)
    ground = np.ascontiguousarray(grey)
    edges = find_boundaries(  # type: ignore[no-untyped-call]
        numbers.astype(np.int64), mode="inner"
    )
    ground[edges] = colours[numbers[edges]]
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


def _write(path: Path, drawn: np.ndarray) -> None:
    from PIL import Image

    with atomic_write(path) as temporary:
        Image.fromarray(drawn.transpose(1, 0, 2)).save(temporary, format="PNG")
