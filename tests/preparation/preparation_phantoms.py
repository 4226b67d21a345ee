"""Plans and orientations that the tests of this room share."""

import itertools
from typing import Any

import numpy as np

from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan

SCHEME = LabelScheme(names={"a": 3, "b": 7}, ignore=9)


def small_plan(**changes: Any) -> Plan:
    values = {
        "name": "test",
        "spatial_dims": 3,
        "target_spacing": (1.0, 1.0, 1.0),
        "channels": (ChannelPlan(name="MR", normalization="none"),),
        "labels": SCHEME,
        "patch_size": (8, 8, 8),
        "batch_size": 2,
        "network": UNetSettings(channels=(8, 16), strides=(1, 2)),
    }
    return Plan(**{**values, **changes})


def turned_affine(code: int, spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    """One of the 48 orientations of an axis-aligned grid, off the origin."""
    order = list(itertools.permutations(range(3)))[code % 6]
    signs = [1 if code // 6 >> bit & 1 else -1 for bit in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[axis]
    affine[:3, 3] = (10, -20, 30)
    return affine


def box_labels(shape=(9, 7, 8)) -> np.ndarray:
    """A box of 3 with a bar of 7 inside, one ignored voxel in the last corner."""
    labels = np.zeros(shape, dtype=np.int16)
    labels[2:6, 2:5, 3:7] = 3
    labels[3:5, 3:4, 4:6] = 7
    labels[-1, -1, -1] = 9
    return labels
