"""How much of each structure a label map holds, in the unit that means something."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from medseg.instances.measures import scale_um
from medseg.labels import LabelScheme
from medseg.prediction.channel_files import is_picture
from medseg.prediction.scan import Scan
from medseg.types import Affine
from medseg.volume import LabelMap


@dataclass(frozen=True)
class Sizes:
    """Volume, or area of pictures, of each structure; only one of the three."""

    volumes_ml: dict[str, float] = field(default_factory=dict)
    areas_um2: dict[str, float] = field(default_factory=dict)
    areas_px: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, label_map: LabelMap, scheme: LabelScheme, scan: Scan) -> "Sizes":
        """Sizes of a label map on a scan's grid; of a picture, areas."""
        voxels = label_map.voxels
        if scheme.instances:
            found = np.count_nonzero(voxels != scheme.background)
            counts = {scheme.structures[0]: int(found)}
        else:
            counts = {n: int((voxels == v).sum()) for n, v in scheme.names.items()}
        if is_one_picture(scan, label_map):
            return cls.of_picture(counts, label_map.affine)
        voxel_ml = label_map.grid.voxel_volume_mm3 / 1000
        return cls(volumes_ml={n: count * voxel_ml for n, count in counts.items()})

    @classmethod
    def of_picture(cls, num_pixels: Mapping[str, int], affine: Affine) -> "Sizes":
        """Areas of structures in a picture, in µm² where a pixel has a size.

        Args:
            num_pixels: Of each structure.
            affine: Of the picture.
        """
        scale = scale_um(affine)
        if scale is None:
            return cls(areas_px={n: float(count) for n, count in num_pixels.items()})
        pixel_um2 = scale[0] * scale[1]
        return cls(areas_um2={n: c * pixel_um2 for n, c in num_pixels.items()})


def is_one_picture(scan: Scan, label_map: LabelMap) -> bool:
    """Whether a scan is a picture of one page: no slice of a body."""
    flat = label_map.voxels.shape[2] == 1
    return flat and scan.series is None and is_picture(scan.files[0])
