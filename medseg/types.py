"""Array aliases. Spatial axes are (i, j, k), in the order of the affine.

Modules that use the jaxtyping aliases are checked by beartype in the tests, and so
do without ``from __future__ import annotations``.
"""

import os
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Integer, Num

AnyPath: TypeAlias = str | os.PathLike[str]
"""A path as users write it."""

Shape: TypeAlias = tuple[int, int, int]
"""Voxels along (i, j, k)."""

Spacing: TypeAlias = tuple[float, float, float]
"""Voxel size in mm along (i, j, k)."""

Affine: TypeAlias = Float64[np.ndarray, "4 4"]
"""Voxel index to world position in mm, RAS+, voxel centres."""

ImageArray: TypeAlias = Num[np.ndarray, "channels i j k"]
"""Intensities, channel first."""

LabelArray: TypeAlias = Integer[np.ndarray, "i j k"]
"""One integer label per voxel."""

MaskArray: TypeAlias = Bool[np.ndarray, "i j k"]
"""One boolean per voxel."""

SpatialArray: TypeAlias = Num[np.ndarray, "i j k"]
"""One number per voxel."""
