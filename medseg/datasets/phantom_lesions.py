"""Simulated lesions: irregular blobs in white matter, of exactly known volume."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets.phantom_waves import Waves
from medseg.geometry import Grid
from medseg.types import Shape

SMALLEST_ML, LARGEST_ML = 0.04, 15.0
SMALLEST_WITH_CORE_ML = 1.0
_PARTS = 3
"""Parts along each axis into which a voxel is divided, to find what share is lesion."""


@dataclass(frozen=True)
class Lesion:
    """What is drawn about a lesion before it is painted."""

    center_mm: tuple[float, float, float]
    volume_ml: float
    core_ml: float
    """Volume of the fluid-filled core; 0 where there is none."""
    stretch: np.ndarray
    """Matrix (3, 3) that turns offsets from the centre into rounder ones."""
    waves: Waves
    """Unevenness of the outline."""
    contrast: float
    """Brightness between 0 (as its surroundings) and 1 (full)."""


@dataclass(frozen=True)
class Painting:
    """Share of each voxel, in 0 to 1, that is lesion and that is core."""

    lesion: np.ndarray
    core: np.ndarray
    contrast: np.ndarray
    """Brightness of the lesion in each voxel."""

    @classmethod
    def empty(cls, shape: Shape) -> "Painting":
        """No lesion."""
        return cls(*(np.zeros(shape, dtype=np.float32) for _ in range(3)))

    @property
    def labels(self) -> np.ndarray:
        """1 where at least half a voxel is lesion, 2 where it is core, uint8."""
        labels = (self.lesion >= 0.5).astype(np.uint8)
        labels[self.core >= 0.5] = 2
        return labels


def draw_lesion(generator: np.random.Generator, centers_mm: np.ndarray) -> Lesion:
    """A lesion at one of the possible centres, (n, 3), its volume log-uniform."""
    volume = float(np.exp(generator.uniform(np.log(SMALLEST_ML), np.log(LARGEST_ML))))
    share = generator.uniform(0.15, 0.4) if volume >= SMALLEST_WITH_CORE_ML else 0.0
    axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    x, y, z = (float(v) for v in generator.choice(centers_mm))
    return Lesion(
        center_mm=(x, y, z),
        volume_ml=volume,
        core_ml=volume * share,
        stretch=np.diag(1 / generator.uniform(0.75, 1.35, size=3)) @ axes.T,
        waves=Waves.draw(generator, wavelength_mm=max(8.0, 3 * _radius_mm(volume))),
        contrast=generator.uniform(0.65, 1.0),
    )


def paint(lesion: Lesion, onto: Painting, *, grid: Grid, tissue: np.ndarray) -> None:
    """Adds a lesion to a painting, in place.

    The outline is the level of an uneven ellipsoid that encloses exactly the
    lesion's volume of tissue; voxels that it cuts get their share.

    Args:
        lesion: What to paint.
        onto: Changed.
        grid: Grid of the painting; its axes are those of the world.
        tissue: Where lesions may be, boolean (I, J, K).
    """
    box = _box(lesion, grid)
    level = _level(lesion, grid, box)
    level[~_divided(tissue[box])] = np.inf
    part_ml = grid.voxel_volume_mm3 / _PARTS**3 / 1000
    shares = [
        _share(level, round(volume / part_ml))
        for volume in (lesion.volume_ml, lesion.core_ml)
    ]
    if shares[0].max() < 0.5:  # smaller than a voxel: the fullest one is labelled
        shares[0][np.unravel_index(shares[0].argmax(), shares[0].shape)] = 0.5
    for painted, share in zip((onto.lesion, onto.core), shares, strict=True):
        np.maximum(painted[box], share, out=painted[box])
    onto.contrast[box][shares[0] > 0] = lesion.contrast


def _radius_mm(volume_ml: float) -> float:
    return float((3 * volume_ml * 1000 / (4 * np.pi)) ** (1 / 3))


def _box(lesion: Lesion, grid: Grid) -> tuple[slice, ...]:
    reach = 2.4 * _radius_mm(lesion.volume_ml)
    center = (np.asarray(lesion.center_mm) - grid.affine[:3, 3]) / grid.spacing
    low = np.floor(center - reach / np.asarray(grid.spacing)).astype(int) - 1
    high = np.ceil(center + reach / np.asarray(grid.spacing)).astype(int) + 2
    return tuple(
        slice(max(int(a), 0), min(int(b), size))
        for a, b, size in zip(low, high, grid.shape, strict=True)
    )


def _level(lesion: Lesion, grid: Grid, box: tuple[slice, ...]) -> np.ndarray:
    """Uneven distance from the centre in mm, for each part of each voxel of a box."""
    steps = [
        np.arange(part.start * _PARTS, part.stop * _PARTS, dtype=np.float32) / _PARTS
        - (_PARTS - 1) / (2 * _PARTS)
        for part in box
    ]
    index = np.stack(np.meshgrid(*steps, indexing="ij"))
    scale = np.asarray(grid.spacing, dtype=np.float32).reshape(3, 1, 1, 1)
    positions = index * scale + grid.affine[:3, 3].astype(np.float32).reshape(
        3, 1, 1, 1
    )
    offset = positions - np.asarray(lesion.center_mm, np.float32).reshape(3, 1, 1, 1)
    rounder = np.tensordot(lesion.stretch.astype(np.float32), offset, axes=1)
    distance = np.linalg.norm(rounder, axis=0)
    return np.asarray(distance * (1 + 0.15 * lesion.waves.at(positions)))


def _share(level: np.ndarray, num_parts: int) -> np.ndarray:
    """Share of each voxel among the lowest parts."""
    num_parts = min(num_parts, int(np.isfinite(level).sum()))
    if num_parts == 0:
        return np.zeros([size // _PARTS for size in level.shape], dtype=np.float32)
    highest = np.partition(level, num_parts - 1, axis=None)[num_parts - 1]
    inside = (level <= highest).astype(np.float32)
    i, j, k = (size // _PARTS for size in level.shape)
    blocks = inside.reshape(i, _PARTS, j, _PARTS, k, _PARTS)
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def _divided(mask: np.ndarray) -> np.ndarray:
    for axis in range(3):
        mask = mask.repeat(_PARTS, axis=axis)
    return mask
