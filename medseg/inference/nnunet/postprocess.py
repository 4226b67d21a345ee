"""nnU-Net's post-processing: of some labels, only the largest component stays."""

from collections.abc import Sequence

import numpy as np

from medseg.postprocessing import label_components
from medseg.volume import LabelMap


def keep_largest(
    label_map: LabelMap,
    unions: Sequence[Sequence[int]],
    *,
    notes: list[str],
) -> LabelMap:
    """A label map after nnU-Net's ``remove_all_but_largest_component``.

    Corners connect; of several largest components all stay; what is taken away becomes
    background.

    Args:
        label_map: As predicted.
        unions: Label values whose union is looked at, in the order of the steps.
        notes: Gets a line for each step that took something away.
    """
    voxels = label_map.voxels.copy()
    for values in unions:
        numbers, sizes = label_components(np.isin(voxels, values))
        if len(sizes) < 3:
            continue
        gone = (sizes < sizes[1:].max())[numbers] & (numbers > 0)
        if gone.any():
            voxels[gone] = 0
            notes.append(
                f"post-processing: {int(gone.sum())} voxels outside of the largest "
                f"component of labels {', '.join(map(str, values))} taken away"
            )
    return LabelMap(voxels, label_map.affine)
