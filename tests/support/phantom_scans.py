"""Scans of two channels that look like heads, and what can go wrong with them."""

from collections.abc import Callable

import numpy as np

from medseg.geometry import affine_from_spacing
from medseg.plan import Plan
from medseg.settings import parse_settings
from medseg.types import ImageArray, Spacing
from medseg.volume import LabelMap, Volume

CHANNELS = ("T1", "FLAIR")


def head_plan(channels: tuple[str, ...] = CHANNELS) -> Plan:
    values = {
        "name": "heads",
        "spatial_dims": 3,
        "target_spacing": (2.0, 2.0, 3.0),
        "channels": [{"name": name} for name in channels],
        "labels": {"names": {"tumour": 1}},
        "patch_size": (16, 16, 16),
        "batch_size": 1,
        "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
    }
    return parse_settings(Plan, values, source="test")


def head(
    seed: int,
    *,
    size: tuple[int, int, int] = (40, 44, 24),
    spacing: Spacing = (4, 4, 6),
) -> Volume:
    """A grey ellipsoid with a dark middle, whose rim is bright in FLAIR alone."""
    generator = np.random.default_rng([7, seed])
    shift = generator.uniform(-0.05, 0.05, size=(3, 1, 1, 1))
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij"))
    away = np.sqrt(((place - shift) ** 2).sum(axis=0)) / generator.uniform(0.75, 0.85)
    tilt = 20 * place[1]
    t1 = np.where(away < 1, 300 - 180 * (away < 0.35) + tilt, 10)
    flair = np.where(away < 1, 120 + 200 * (away > 0.7) - 60 * (away < 0.35), 10)
    noise = generator.normal(scale=12, size=(2, *size))
    gain = generator.uniform(0.5, 2)  # units of MR are arbitrary
    voxels = (gain * (np.stack([t1, flair]) + noise)).astype(np.float32)
    origin = tuple(generator.uniform(-90, -80, size=3))
    return Volume(voxels, affine_from_spacing(spacing, origin))


def tumour(seed: int, like: Volume, *, radius: float = 4.0, parts: int = 1) -> LabelMap:
    """Spheres of some voxels' radius."""
    generator = np.random.default_rng([8, seed])
    labels = np.zeros(like.grid.shape, np.uint8)
    where = np.indices(labels.shape)
    for part in range(parts):
        centre = np.array([8 + 12 * part, 20, 12]) + generator.integers(-1, 2, size=3)
        away = ((where - centre.reshape(3, 1, 1, 1)) ** 2).sum(axis=0)
        labels[away < (radius * generator.uniform(0.9, 1.1)) ** 2] = 1
    return LabelMap(labels, like.affine)


def changed(volume: Volume, change: Callable[[ImageArray], ImageArray]) -> Volume:
    return Volume(np.ascontiguousarray(change(volume.voxels)), volume.affine)


def inverted(voxels: ImageArray) -> ImageArray:
    return np.asarray(voxels.max(axis=(1, 2, 3), keepdims=True) - voxels)
