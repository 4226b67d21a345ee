"""Simulated lesions: irregular blobs in white matter, of exactly known volume."""

from dataclasses import dataclass, replace

import numpy as np

from medseg.geometry import Grid
from medseg.testing.phantom_head import Waves
from medseg.types import Shape

SMALLEST_ML, LARGEST_ML = 0.04, 15.0
SMALLEST_WITH_CORE_ML = 1.0
_PARTS = 3
"""Parts along each axis into which a voxel is divided, to find what share is lesion."""


@dataclass(frozen=True)
class Outline:
    """An uneven ellipsoid: a distance from a centre that rises unevenly."""

    center_mm: tuple[float, float, float]
    stretch: np.ndarray
    """Matrix (3, 3) that turns offsets from the centre into rounder ones."""
    waves: tuple[Waves, Waves]
    """Coarse and fine unevenness."""

    def distance(self, positions: np.ndarray) -> np.ndarray:
        """Uneven distance in mm of positions in mm, shape (3, ...)."""
        center = np.asarray(self.center_mm, dtype=np.float32).reshape(3, 1, 1, 1)
        rounder = np.tensordot(
            self.stretch.astype(np.float32), positions - center, axes=1
        )
        coarse, fine = (waves.at(positions) for waves in self.waves)
        factor = np.exp(0.22 * coarse + 0.1 * fine)
        return np.asarray(np.linalg.norm(rounder, axis=0) * factor)


@dataclass(frozen=True)
class SimulatedLesion:
    """What is drawn about a lesion before it is painted."""

    volume_ml: float
    core_ml: float
    """Volume of the core; 0 where there is none."""
    outline: Outline
    core_outline: Outline
    contrast: float
    """Brightness between 0 (as its surroundings) and 1 (full)."""

    @property
    def center_mm(self) -> tuple[float, float, float]:
        """World position of the lesion's middle."""
        return self.outline.center_mm


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


def draw_lesion(generator: np.random.Generator) -> SimulatedLesion:
    """A lesion at the origin, its volume log-uniform."""
    volume = float(np.exp(generator.uniform(np.log(SMALLEST_ML), np.log(LARGEST_ML))))
    share = generator.uniform(0.12, 0.4) if volume >= SMALLEST_WITH_CORE_ML else 0.0
    radius = _radius_mm(volume)
    x, y, z = (float(v) for v in generator.normal(scale=0.2 * radius, size=3))
    return SimulatedLesion(
        volume_ml=volume,
        core_ml=volume * share,
        outline=_draw_outline(generator, (0.0, 0.0, 0.0), radius),
        core_outline=_draw_outline(generator, (x, y, z), 0.6 * radius),
        contrast=generator.uniform(0.45, 1.0),
    )


def moved(
    lesion: SimulatedLesion, *, to_mm: np.ndarray, growth: float
) -> SimulatedLesion:
    """The lesion at another place (3,), grown by a factor in volume."""
    return replace(
        lesion,
        volume_ml=lesion.volume_ml * growth,
        core_ml=lesion.core_ml * growth,
        outline=_shifted(lesion.outline, to_mm),
        core_outline=_shifted(lesion.core_outline, to_mm),
    )


def paint(
    lesion: SimulatedLesion,
    onto: Painting,
    *,
    grid: Grid,
    gray: np.ndarray,
    white: np.ndarray,
) -> None:
    """Adds a lesion to a painting, in place.

    The lesion is the part of an uneven ellipsoid that lies in tissue, at the level
    that encloses exactly its volume; it spreads more readily in white matter. Voxels
    that the outline cuts get their share.

    Args:
        lesion: What to paint.
        onto: Changed.
        grid: Grid of the painting; its axes are those of the world.
        gray: Share of grey matter, shape (I, J, K).
        white: Share of white matter, shape (I, J, K).
    """
    box = _box(lesion, grid)
    positions = _parts(grid, box)
    part_ml = grid.voxel_volume_mm3 / _PARTS**3 / 1000
    level = lesion.outline.distance(positions) * _divided(1 + gray[box])
    level[_divided(gray[box] + white[box] < 0.6)] = np.inf
    inside = _lowest(level, round(lesion.volume_ml / part_ml))
    core_level = lesion.core_outline.distance(positions)
    core_level[~inside] = np.inf
    core = _lowest(core_level, round(lesion.core_ml / part_ml))
    share = _share(inside)
    if share.max() < 0.5:  # smaller than a voxel: the fullest one is labelled
        share[np.unravel_index(share.argmax(), share.shape)] = 0.5
    np.maximum(onto.lesion[box], share, out=onto.lesion[box])
    np.maximum(onto.core[box], _share(core), out=onto.core[box])
    onto.contrast[box][share > 0] = lesion.contrast


def _draw_outline(
    generator: np.random.Generator,
    center_mm: tuple[float, float, float],
    radius_mm: float,
) -> Outline:
    axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    stretch = np.diag(1 / generator.uniform(0.7, 1.4, size=3)) @ axes.T
    coarse = Waves.draw(generator, wavelength_mm=2.5 * radius_mm)
    return Outline(
        center_mm, stretch, (coarse, Waves.draw(generator, wavelength_mm=radius_mm))
    )


def _shifted(outline: Outline, by_mm: np.ndarray) -> Outline:
    x, y, z = (float(a + b) for a, b in zip(outline.center_mm, by_mm, strict=True))
    return replace(outline, center_mm=(x, y, z))


def _radius_mm(volume_ml: float) -> float:
    return float((3 * volume_ml * 1000 / (4 * np.pi)) ** (1 / 3))


def _box(lesion: SimulatedLesion, grid: Grid) -> tuple[slice, ...]:
    reach = 2.4 * _radius_mm(lesion.volume_ml)
    center = (np.asarray(lesion.center_mm) - _origin(grid)) / np.asarray(grid.spacing)
    low = np.floor(center - reach / np.asarray(grid.spacing)).astype(int) - 1
    high = np.ceil(center + reach / np.asarray(grid.spacing)).astype(int) + 2
    return tuple(
        slice(max(int(a), 0), min(int(b), size))
        for a, b, size in zip(low, high, grid.shape, strict=True)
    )


def _parts(grid: Grid, box: tuple[slice, ...]) -> np.ndarray:
    """World position in mm of each part of each voxel of a box, (3, i, j, k)."""
    steps = [
        np.arange(part.start * _PARTS, part.stop * _PARTS, dtype=np.float32) / _PARTS
        - (_PARTS - 1) / (2 * _PARTS)
        for part in box
    ]
    index = np.stack(np.meshgrid(*steps, indexing="ij"))
    scale = np.asarray(grid.spacing, dtype=np.float32).reshape(3, 1, 1, 1)
    return np.asarray(index * scale + _origin(grid).reshape(3, 1, 1, 1))


def _origin(grid: Grid) -> np.ndarray:
    return np.asarray(grid.affine[:3, 3], dtype=np.float32)


def _lowest(level: np.ndarray, num_parts: int) -> np.ndarray:
    """The given number of parts with the lowest level, none of them infinite."""
    num_parts = min(num_parts, int(np.isfinite(level).sum()))
    if num_parts == 0:
        return np.zeros(level.shape, dtype=bool)
    highest = np.partition(level, num_parts - 1, axis=None)[num_parts - 1]
    return np.asarray(level <= highest)


def _share(parts: np.ndarray) -> np.ndarray:
    """Share of each voxel's parts, float32."""
    i, j, k = (size // _PARTS for size in parts.shape)
    blocks = parts.reshape(i, _PARTS, j, _PARTS, k, _PARTS)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def _divided(array: np.ndarray) -> np.ndarray:
    for axis in range(3):
        array = array.repeat(_PARTS, axis=axis)
    return array
