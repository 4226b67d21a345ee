"""A table of objects: where each lies, how large, how bright, of what shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medseg.types import ImageArray, LabelArray

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
INTENSITIES = ("intensity_mean", "intensity_min", "intensity_max", "intensity_std")
"""What is measured of each channel."""


def measure_objects(
    labels: LabelArray,
    image: ImageArray,
    *,
    channels: tuple[str, ...],
    background: int = 0,
    flat: bool = True,
) -> pd.DataFrame:
    """A row per object, by scikit-image; lengths in pixels, intensities as stored.

    Args:
        labels: Object numbers, shape (I, J, K).
        image: The scan, shape (C, I, J, K).
        channels: Names of its channels; others are numbered.
        background: The value outside of objects.
        flat: Measure in the slices of each k, with shape; else as bodies in 3D.

    Returns:
        Columns label, k (of slices), area (volume in 3D), centroid and bounding box
        along i, j (and k), shape, and intensities of each channel.
    """
    import pandas as pd

    names = channel_names(channels, len(image))
    if not flat:
        return _table(labels, image, names, background)
    tables = []
    for k in range(labels.shape[-1]):
        table = _table(labels[..., k], image[..., k], names, background)
        table.insert(1, "k", k)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def channel_names(channels: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The names where there are as many, else ``grey`` or numbers."""
    if len(channels) == count:
        return channels
    return ("grey",) if count == 1 else tuple(f"channel_{n}" for n in range(count))


def _table(
    labels: np.ndarray, image: np.ndarray, names: tuple[str, ...], background: int
) -> pd.DataFrame:
    import pandas as pd
    from skimage.measure import regionprops_table

    objects = np.where(labels == background, 0, labels).astype(np.int64)
    wanted = ANYWHERE + (FLAT if objects.ndim == 2 else ()) + INTENSITIES
    found = regionprops_table(  # type: ignore[no-untyped-call]
        objects, np.moveaxis(image, 0, -1), properties=wanted
    )
    return pd.DataFrame(found).rename(columns=lambda c: _title(c, objects.ndim, names))


def _title(column: str, dims: int, names: tuple[str, ...]) -> str:
    """Names of axes and channels in place of their numbers."""
    head, _, last = column.rpartition("-")
    if head == "centroid":
        return f"centroid_{'ijk'[int(last)]}"
    if head == "bbox":
        end = "first" if int(last) < dims else "stop"
        return f"{'ijk'[int(last) % dims]}_{end}"
    if head.startswith("intensity"):
        return f"{names[int(last)]}_{head.removeprefix('intensity_')}"
    return "volume" if column == "area" and dims == 3 else column
