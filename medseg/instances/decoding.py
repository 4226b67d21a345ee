"""From levels of depth to numbered objects: thresholds, seeds, watershed.

Watershed stays inside a connected foreground, so that the objects of a large image can
be found tile by tile (`stitching.py`).
"""

from collections.abc import Sequence

import numpy as np

from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.foreground import find_foreground
from medseg.instances.object_maps import FULL, ObjectMaps
from medseg.instances.seeds import find_seeds
from medseg.types import LabelArray


def decode(depths: ObjectMaps, settings: DecodingSettings) -> LabelArray:
    """Numbers of objects from 1 without gaps, 0 outside, uint32.

    Args:
        depths: Of an image that is decoded at once; any number of axes.
        settings: Thresholds.
    """
    labels = flood(depths, find_seeds(depths, settings), settings)
    return without_small(labels, min_voxels=settings.min_voxels)


def flood(
    depths: ObjectMaps,
    seeds: LabelArray,
    settings: DecodingSettings,
    *,
    origin: Sequence[int] | None = None,
) -> LabelArray:
    """Seeds grown over the foreground, deep voxels first (scikit-image's watershed).

    Args:
        depths: Of an image or of a part of it.
        seeds: Numbers of seeds, 0 elsewhere.
        settings: Thresholds.
        origin: Where the part begins in its image: which of two equally deep voxels
            of seeds grows first follows from its place there, so that parts agree.
    """
    from skimage.segmentation import watershed

    inside = find_foreground(depths, settings)
    start = origin or (0,) * depths.depth.ndim
    height = (FULL - depths.depth).astype(np.float32)
    height += np.where(seeds > 0, _turns(seeds.shape, start), 0)
    grown = watershed(  # type: ignore[no-untyped-call]
        height, seeds.astype(np.int32), mask=inside
    )
    return np.asarray(grown).astype(np.uint32)


def _turns(shape: tuple[int, ...], start: Sequence[int]) -> np.ndarray:
    """For each voxel a share of a half, scattered by its place (Weyl's sequence)."""
    steps = (0.7548776662466927, 0.5698402909980532, 0.4301597090019468)
    along = [
        (np.arange(first, first + size) * step) % 1
        for first, size, step in zip(start, shape, steps[: len(shape)], strict=True)
    ]
    total = sum(np.ix_(*along), np.zeros((1,) * len(shape)))
    return np.asarray(total % 1 / 2, dtype=np.float32)


def without_small(labels: LabelArray, *, min_voxels: int) -> LabelArray:
    """Objects of enough voxels, renumbered from 1 without gaps."""
    sizes = np.bincount(labels.ravel())
    return np.asarray(kept_numbers(sizes, min_voxels=min_voxels)[labels])


def kept_numbers(sizes: np.ndarray, *, min_voxels: int) -> LabelArray:
    """New number of each old one; 0 for those that go.

    Args:
        sizes: Voxels of each number, those outside first.
        min_voxels: Smaller objects go.
    """
    keep = sizes >= max(min_voxels, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.uint32)
