"""Plans and orientations that the tests of this room share."""

import itertools
from typing import Any

import numpy as np

from medseg.fingerprint import (
    CaseFacts,
    ChannelFacts,
    ClassFacts,
    Fingerprint,
    IntensityFacts,
)
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


def fingerprint(
    shapes, spacings, *, modality="other", zero_fraction=0.0, pictures=False, **case
) -> Fingerprint:
    """What cases of given shapes and spacings would have measured."""
    channel = ChannelFacts(smallest=0, largest=1, integer=True, zero_fraction=0)
    cases = tuple(
        CaseFacts(
            **{
                "case_id": f"c{number}",
                "shape": shape,
                "cropped_shape": shape,
                "spacing": spacing,
                "orientation": "LPS",
                "channels": (channel,),
                "num_voxels": (10, 5),
                "num_components": (1,),
                "foreground_cropped": 0,
                **case,
            }
        )
        for number, (shape, spacing) in enumerate(zip(shapes, spacings, strict=True))
    )
    intensities = IntensityFacts(
        name="image",
        modality=modality,
        modality_reason="a test says so",
        mean=40,
        std=20,
        median=40,
        percentile_00_5=-100,
        percentile_99_5=200,
        smallest=-1000,
        largest=3000,
        integer_cases=len(cases),
        zero_fraction=zero_fraction,
    )
    organ = ClassFacts(
        name="organ",
        num_cases=len(cases),
        voxels=5,
        fraction=0.1,
        num_components=1,
        component_voxels=(5, 5, 5),
    )
    return Fingerprint(
        name="set",
        num_cases=len(cases),
        channels=(intensities,),
        classes=(organ,),
        pictures=pictures,
        cases=cases,
    )
