"""Images and label maps: read, written, shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg import io, reading
from medseg.instances.measures import measure_objects, scale_um
from medseg.io.in_memory import AnyImage, open_image, open_label_map
from medseg.io.object_files import parse_formats, write_objects
from medseg.labels import LabelScheme
from medseg.reporting.figures import figure_png
from medseg.reporting.overlay import draw_overlay
from medseg.reporting.picture import Picture
from medseg.types import AnyPath
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    import pandas as pd

_OBJECTS = {".zip": "roi", ".geojson": "geojson", ".ome.tif": "ome-tiff"}
"""Endings of files that hold single objects, and their formats."""


def read_volume(
    source: AnyPath | Sequence[AnyPath], *, allow_shear: bool = False
) -> Volume:
    """The scan in a file, in a folder with one DICOM series, or in a file per channel.

    Args:
        source: NIfTI, NRRD, MetaImage, PNG, TIFF or DICOM; a list of files on one grid
            becomes the channels, in this order.
        allow_shear: Take a grid with leaning axes as it is instead of refusing it.

    Raises:
        InputError: Something cannot be read or used; the message names the file.

    Examples:
        >>> import medseg
        >>> study = medseg.testing.make_tiny_study("tiny")
        >>> medseg.read_volume("tiny/imagesTr/tiny_000.nii.gz")
        Volume(1 x 24 x 28 x 20 float32, 1 x 1 x 1.5 mm, RAS)
    """
    if isinstance(source, list | tuple):
        return reading.read_volume(
            [Path(path) for path in source], allow_shear=allow_shear
        )
    assert not isinstance(source, Sequence) or isinstance(source, str)
    return reading.read_volume(Path(source), allow_shear=allow_shear)


def read_label_map(
    path: AnyPath, *, labels: LabelScheme | None = None, allow_shear: bool = False
) -> LabelMap:
    """The label map in a file: NIfTI, NRRD, MetaImage, PNG, TIFF or DICOM SEG.

    Args:
        path: The file.
        labels: What the values mean; colours and named segments become these values.
        allow_shear: Take a grid with leaning axes as it is instead of refusing it.

    Raises:
        InputError: It cannot be read, or holds no label map; the message names it.

    Examples:
        >>> import medseg
        >>> label_map = medseg.read_label_map("tiny/labelsTr/tiny_000.nii.gz")
        >>> label_map.voxels.max()
        np.uint8(2)
    """
    return reading.read_label_map(Path(path), scheme=labels, allow_shear=allow_shear)


def write_volume(
    path: AnyPath, image: AnyImage, *, like: AnyPath | None = None
) -> None:
    """Writes a scan, whole or not at all; the suffix says the format.

    Args:
        path: .nii.gz, .nii, .nrrd, .mha, .png or .tif.
        image: A `Volume`, (array, affine), or an image of nibabel, SimpleITK or MONAI.
        like: A file on the same grid whose header's geometry fields are kept.

    Raises:
        InputError: It is no image.
        OutputError: It cannot be written, or the format cannot hold it.

    Examples:
        >>> import medseg
        >>> scan = medseg.read_volume("tiny/imagesTr/tiny_000.nii.gz")
        >>> medseg.write_volume("scan.nrrd", scan)
    """
    volume = open_image(image, allow_shear=True).volume
    io.write_volume(Path(path), volume, like=None if like is None else Path(like))


def write_label_map(
    path: AnyPath, label_map: AnyImage, *, like: AnyPath | None = None
) -> None:
    """Writes a label map, whole or not at all; the suffix says the format.

    Args:
        path: .nii.gz, .nii, .nrrd, .mha, .png or .tif; of single objects also .zip
            (regions of interest for ImageJ), .geojson (QuPath) or .ome.tif (napari).
        label_map: A `LabelMap`, (array, affine), or an image of nibabel, SimpleITK or
            MONAI with whole numbers.
        like: A file on the same grid whose header's geometry fields are kept.

    Raises:
        InputError: It is no label map.
        OutputError: It cannot be written, or the format cannot hold it.

    Examples:
        >>> import medseg
        >>> label_map = medseg.read_label_map("tiny/labelsTr/tiny_000.nii.gz")
        >>> medseg.write_label_map("labels.nii.gz", label_map)
    """
    labels, name = open_label_map(label_map), Path(path).name.lower()
    for ending, kind in _OBJECTS.items():
        if name.endswith(ending):
            write_objects(Path(path), labels, as_format=parse_formats(kind)[0])
            return
    io.write_label_map(Path(path), labels, like=None if like is None else Path(like))


def measure_cells(
    image: AnyImage | AnyPath, label_map: AnyImage | AnyPath
) -> "pd.DataFrame":
    """A row per cell (single object) of a label map: where, how large, how bright.

    Args:
        image: A path, or an image in memory.
        label_map: On the image's grid, 0 outside, one value per cell.

    Returns:
        What `medseg predict` writes to ``cells/NAME.csv``: names of lengths end in
        their unit, _um where the image says how large a voxel is, else _px. x grows
        to the right and y downwards, from 0 at the centre of the first pixel.

    Raises:
        InputError: Something cannot be read, or the grids differ.

    Examples:
        >>> import medseg
        >>> table = medseg.testing.make_tiny_cells("cells")
        >>> cells = medseg.measure_cells(
        ...     "cells/images/cells_01.png", "cells/labels/cells_01.png"
        ... )
        >>> list(cells)[:5]
        ['label', 'page', 'area_px', 'x_px', 'y_px']
    """
    volume, labels = _volume(image), _labels(label_map)
    labels = labels.turned_to(volume.grid)
    return measure_objects(
        labels.voxels,
        volume.voxels,
        channels=(),
        flat=labels.voxels.shape[2] == 1,
        spacing_um=scale_um(volume.affine),
    )


def show(
    image: AnyImage | AnyPath,
    label_map: AnyImage | AnyPath,
    reference: AnyImage | AnyPath | None = None,
    *,
    labels: LabelScheme | None = None,
    title: str = "",
) -> Picture:
    """A picture of a scan with its label map, in the planes where most is to be seen.

    Args:
        image: A path, or an image in memory.
        label_map: On the image's grid: drawn as lines.
        reference: To compare with: drawn as fill.
        labels: Names of the values; numbers by default.
        title: Words above.

    Raises:
        InputError: Something cannot be read, or the grids differ.

    Examples:
        >>> import medseg
        >>> picture = medseg.show(
        ...     "tiny/imagesTr/tiny_000.nii.gz", "tiny/labelsTr/tiny_000.nii.gz"
        ... )
        >>> picture.save("picture.png")
    """
    volume = _volume(image)
    found = _labels(label_map).turned_to(volume.grid)
    truth = None if reference is None else _labels(reference).turned_to(volume.grid)
    figure = draw_overlay(
        volume,
        prediction=found,
        reference=truth,
        scheme=labels or _numbered([found, *([] if truth is None else [truth])]),
        title=title,
    )
    return Picture(figure_png(figure))


def _volume(image: AnyImage | AnyPath) -> Volume:
    if isinstance(image, str | Path):
        return read_volume(image, allow_shear=True)
    return open_image(image, allow_shear=True).volume


def _labels(label_map: AnyImage | AnyPath) -> LabelMap:
    if isinstance(label_map, str | Path):
        return read_label_map(label_map, allow_shear=True)
    return open_label_map(label_map)


def _numbered(label_maps: Sequence[LabelMap]) -> LabelScheme:
    """A scheme that calls each value by its number."""
    values = {int(v) for found in label_maps for v in np.unique(found.voxels)}
    names = {str(value): value for value in sorted(values - {0})}
    return LabelScheme(names=names or {"1": 1})
