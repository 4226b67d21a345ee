"""Which voxels belong to any object, and which of them hang together."""

import numpy as np

from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import FULL, ObjectMaps
from medseg.types import LabelArray, MaskArray


def find_foreground(depths: ObjectMaps, settings: DecodingSettings) -> MaskArray:
    """Voxels of objects; holes smaller than the smallest object are filled."""
    inside = np.asarray(depths.foreground > settings.foreground * FULL)
    if settings.min_voxels < 2:
        return inside
    holes, _ = label(~inside)
    sizes = np.bincount(holes.ravel())
    small = sizes < settings.min_voxels
    small[0] = False
    return np.asarray(inside | small[holes])


def label(mask: MaskArray) -> tuple[LabelArray, int]:
    """Connected parts of a mask numbered from 1; faces connect."""
    import cc3d

    found = cc3d.connected_components(
        np.ascontiguousarray(mask), connectivity=4 if mask.ndim == 2 else 6
    )
    return found.astype(np.uint32), int(found.max(initial=0))
