"""A table of objects: where each lies, how large, how bright, of what shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medseg.geometry import spacing_of
from medseg.types import Affine, ImageArray, LabelArray, Spacing

if TYPE_CHECKING:
    import pandas as pd

TABLES, OUTLINES = "cells", "outlines"
"""Folders of tables and of pictures with outlines, below that of the label maps."""
ANYWHERE = ("label", "area", "centroid", "bbox", "equivalent_diameter_area", "extent")
"""What is measured of objects in 2D and 3D."""
FLAT = (
    "perimeter",
    "eccentricity",
    "axis_major_length",
    "axis_minor_length",
    "orientation",
    "solidity",
)
"""What is measured of objects in 2D as well."""
_SQUARE = 1.001
"""Sides of a pixel that differ by no more are equal."""
INTENSITIES = ("intensity_mean", "intensity_min", "intensity_max", "intensity_std")
"""What is measured of each channel."""


def measure_objects(
    labels: LabelArray,
    image: ImageArray,
    *,
    channels: tuple[str, ...],
    background: int = 0,
    flat: bool = True,
    spacing_um: Spacing | None = None,
) -> pd.DataFrame:
    """A row per object, by scikit-image; intensities as stored.

    x grows along i, to the right, y along j, downwards, z along k, from 0 at the centre
    of the first pixel. Boxes are in pixels whatever the scale.

    Args:
        labels: Object numbers, shape (I, J, K).
        image: The scan, shape (C, I, J, K).
        channels: Names of its channels; others are numbered.
        background: The value outside of objects.
        flat: Measure in the slices of each k, with shape; else as bodies in 3D.
        spacing_um: Size of a voxel in µm along (i, j, k); None where no scale is
            known, so that lengths are in pixels.

    Returns:
        Columns label, page (of slices), area (volume in 3D), x, y (and z), bounding
        box, shape, and intensities of each channel. Names of lengths, areas and
        volumes end in their unit: _um, _um2, _um3, else _px. The perimeter is left
        out where pixels are not square.
    """
    import pandas as pd

    names = channel_names(channels, len(image))
    if not flat:
        return _table(labels, image, names, background, spacing_um)
    tables = []
    for k in range(labels.shape[-1]):
        table = _table(labels[..., k], image[..., k], names, background, spacing_um)
        table.insert(1, "page", k)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def count_numbers(labels: LabelArray, *, background: int = 0) -> int:
    """Number of objects of a label map of objects."""
    return len(np.setdiff1d(np.unique(labels), [background]))


def scale_um(affine: Affine) -> Spacing | None:
    """Size of a voxel in µm; None for the identity, which pictures without one have."""
    if np.array_equal(affine, np.eye(4)):
        return None
    i, j, k = spacing_of(affine)
    return i * 1000, j * 1000, k * 1000


def channel_names(channels: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The names where there are as many, else ``grey`` or numbers."""
    if len(channels) == count:
        return channels
    return ("grey",) if count == 1 else tuple(f"channel_{n}" for n in range(count))


def _table(
    labels: np.ndarray,
    image: np.ndarray,
    names: tuple[str, ...],
    background: int,
    spacing_um: Spacing | None,
) -> pd.DataFrame:
    import pandas as pd
    from skimage.measure import regionprops_table

    objects = np.where(labels == background, 0, labels).astype(np.int64)
    dims = objects.ndim
    spacing = (1.0,) * dims if spacing_um is None else spacing_um[:dims]
    wanted = ANYWHERE + (FLAT if dims == 2 else ()) + INTENSITIES
    if max(spacing) > min(spacing) * _SQUARE:
        wanted = tuple(name for name in wanted if name != "perimeter")
    found = regionprops_table(  # type: ignore[no-untyped-call]
        objects, np.moveaxis(image, 0, -1), properties=wanted, spacing=spacing
    )
    unit = "px" if spacing_um is None else "um"
    return pd.DataFrame(found).rename(columns=lambda c: _title(c, dims, names, unit))


def _title(column: str, dims: int, names: tuple[str, ...], unit: str) -> str:
    """Names of axes, channels and units in place of numbers."""
    head, _, last = column.rpartition("-")
    if head == "centroid":
        return f"{'xyz'[int(last)]}_{unit}"
    if head == "bbox":
        end = "first" if int(last) < dims else "stop"
        return f"{'xyz'[int(last) % dims]}_{end}_px"
    if head.startswith("intensity"):
        return f"{names[int(last)]}_{head.removeprefix('intensity_')}"
    power = "" if unit == "px" else str(dims)
    lengths = {
        "area": f"{'area' if dims == 2 else 'volume'}_{unit}{power}",
        "equivalent_diameter_area": f"equivalent_diameter_{unit}",
        "perimeter": f"perimeter_{unit}",
        "axis_major_length": f"major_axis_{unit}",
        "axis_minor_length": f"minor_axis_{unit}",
    }
    return lengths.get(column, column)
