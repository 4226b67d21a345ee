"""Objects of a picture too large for memory, one by one and with their neighbours."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from medseg.files import atomic_write
from medseg.inference.slide import WRITTEN_TILE, SlideObjects
from medseg.instances.edges import ObjectOutline, outline_of
from medseg.instances.object_colouring import APART, neighbours
from medseg.instances.object_palette import object_colours
from medseg.io.object_files import (
    ObjectFormat,
    ome_metadata,
    write_geojson,
    write_rois,
)
from medseg.prediction.attempts import Attempts
from medseg.types import Affine, LabelArray


def colours_of_slide(objects: SlideObjects) -> np.ndarray:
    """Red, green and blue of each object, unlike those of its neighbours' anywhere.

    Returns:
        uint8, shape (objects + 1, 3).
    """
    pairs: set[tuple[int, int]] = set()
    for tile in objects.grid:
        near = tuple(
            slice(part.start, min(part.stop + APART + 1, size))
            for part, size in zip(tile.core, objects.labels.shape, strict=True)
        )
        numbers = objects.final[objects.labels[near]].astype(np.int64)
        pairs.update(neighbours(numbers[..., None], flat=True))
    return object_colours(objects.count, sorted(pairs))


def outlines_of_slide(objects: SlideObjects) -> Iterator[ObjectOutline]:
    """The outline of every object, by its value in the label map.

    Each is looked up where it lies, whole, however many tiles it crosses.
    """
    values = objects.values
    for number, box in enumerate(_boxes(objects).tolist(), start=1):
        x_first, y_first, x_stop, y_stop = box
        part = objects.labels[slice(x_first, x_stop), slice(y_first, y_stop)]
        mask = objects.final[part] == number
        yield outline_of(mask, label=int(values[number]), first=(x_first, y_first))


def write_slide_objects(
    out: Path,
    stem: str,
    objects: SlideObjects,
    *,
    attempts: Attempts,
    formats: Sequence[ObjectFormat],
    name: str,
    affine: Affine,
) -> list[str]:
    """Writes the objects in other programs' formats; returns the files' names.

    Args:
        out: The folder.
        stem: What the files' names begin with.
        objects: Of the picture.
        attempts: Told why a file cannot be written.
        formats: For which programs.
        name: What the objects are called.
        affine: Of the picture's grid.

    Raises:
        OutputError: The disk is full or read-only.
    """
    names = []
    for one in formats:
        file = f"{stem}{one.ending}"
        path = out / file
        with attempts.of(f"{one} file", path):
            if one is ObjectFormat.ROI:
                write_rois(path, outlines_of_slide(objects))
            elif one is ObjectFormat.GEOJSON:
                write_geojson(path, outlines_of_slide(objects), name=name)
            else:
                _write_ome_labels(path, objects, affine)
            names.append(file)
    return names


def _boxes(objects: SlideObjects) -> LabelArray:
    """First x and y, and those after the last, of each object, shape (objects, 4)."""
    from scipy.ndimage import find_objects

    boxes = np.tile(np.array([2**62, 2**62, 0, 0]), (objects.count, 1))
    for tile in objects.grid:
        found = objects.final[objects.labels[tile.core]]
        values, places = np.unique(found, return_inverse=True)
        parts = find_objects(places.reshape(found.shape) + 1)
        x, y = (axis.start for axis in tile.core)
        for value, (across, down) in zip(values.tolist(), parts, strict=True):
            if value:
                box = boxes[value - 1]
                box[:2] = np.minimum(box[:2], (x + across.start, y + down.start))
                box[2:] = np.maximum(box[2:], (x + across.stop, y + down.stop))
    return boxes


def _write_ome_labels(path: Path, objects: SlideObjects, affine: Affine) -> None:
    """Object numbers, 0 outside, with the pixel size in µm where it is known."""
    import tifffile

    columns, rows = objects.labels.shape
    values = objects.values.copy()
    values[0] = 0
    values = values.astype(np.min_scalar_type(int(values.max())))
    with atomic_write(path) as temporary:
        tifffile.imwrite(
            temporary,
            objects.tiles(values),
            shape=(rows, columns),
            dtype=values.dtype,
            ome=True,
            tile=(WRITTEN_TILE, WRITTEN_TILE),
            compression="zlib",
            photometric="minisblack",
            metadata=ome_metadata(path.name, affine, is_flat=True),
            bigtiff=rows * columns * values.dtype.itemsize > 2**31,
        )
