"""Sizes and counts of what a label map holds."""

import numpy as np

from medseg.plan import Plan
from medseg.plausibility.measure import Measures
from medseg.postprocessing import label_components
from medseg.training_ranges import Kind
from medseg.volume import LabelMap


def measure_findings(
    label_map: LabelMap, plan: Plan, *, name: str = "scan"
) -> Measures:
    """Volume and parts of each structure, or number and size of single objects.

    A structure that does not occur has no volume and no parts; that it is absent is a
    measure of its own.

    Args:
        label_map: On the scan's own grid, in the values of the plan's labels.
        plan: Of the model.
        name: Case or file, for error messages.

    Raises:
        LabelError: It holds values that the plan's scheme does not know.
    """
    scheme = plan.labels
    if scheme.instances:
        return _of_objects(label_map, plan)
    voxel_ml = label_map.grid.voxel_volume_mm3 / 1000
    indices = scheme.to_indices(label_map.voxels, name=name)
    values: dict[tuple[Kind, tuple[str, ...]], float] = {}
    for number, structure in enumerate(scheme.structures, start=1):
        mask = indices == number
        count = int(mask.sum())
        values["absent", (structure,)] = float(count == 0)
        if count:
            values["volume", (structure,)] = count * voxel_ml
            parts = len(label_components(mask)[1]) - 1
            values["components", (structure,)] = float(parts)
    return values


def _of_objects(label_map: LabelMap, plan: Plan) -> Measures:
    scheme, voxels = plan.labels, label_map.voxels
    inside = voxels != scheme.background
    if scheme.ignore is not None:
        inside &= voxels != scheme.ignore
    sizes = np.unique(voxels[inside], return_counts=True)[1]
    values: dict[tuple[Kind, tuple[str, ...]], float] = {}
    values["absent", (scheme.structures[0],)] = float(len(sizes) == 0)
    if len(sizes):
        values["objects", ()] = float(len(sizes))
        values["object_size", ()] = float(np.median(sizes))
    return values
