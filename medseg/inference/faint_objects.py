"""Removes objects of faint pictures that stand out no more than noise."""

import numpy as np

from medseg.labels import LabelScheme
from medseg.preparation.contrast import FaintPicture, contrasts_of
from medseg.types import ImageArray, LabelArray
from medseg.volume import LabelMap


def without_faint_objects(
    label_map: LabelMap, voxels: ImageArray, picture: FaintPicture, scheme: LabelScheme
) -> tuple[LabelMap, str]:
    """The label map without what stands out less than objects of training, and a note.

    Args:
        label_map: As predicted, values of files; single objects keep the first numbers.
        voxels: The picture on the same grid, shape (C, I, J, K).
        picture: What is expected of it.
        scheme: What the values mean. Where they are structures, their connected parts
            are the objects.

    Returns:
        The label map, and what was taken away in words.
    """
    values, objects = _objects(label_map.voxels, scheme)
    found = contrasts_of(objects, voxels)
    least = np.asarray(picture.contrasts)
    asked = least > 0
    kept = found[asked].sum(axis=0) >= least[asked].sum()
    if kept.all():
        return label_map, picture.remark
    table = np.full(len(values) + 1, scheme.background, label_map.voxels.dtype)
    if scheme.instances:
        table[1:][kept] = values[: kept.sum()]
    else:
        table[1:][kept] = values[kept]
    cleaned = np.where(objects > 0, table[objects], label_map.voxels)
    gone = int((~kept).sum())
    words = "1 object was" if gone == 1 else f"{gone} objects were"
    note = f"{picture.remark}; {words} no clearer than noise and taken away"
    return LabelMap(cleaned.astype(label_map.voxels.dtype), label_map.affine), note


def _objects(voxels: LabelArray, scheme: LabelScheme) -> tuple[np.ndarray, LabelArray]:
    """The value of each object, and its number from 1 at its voxels."""
    import cc3d

    outside = voxels == scheme.background
    if scheme.ignore is not None:
        outside |= voxels == scheme.ignore
    inside = np.where(outside, 0, voxels)
    if scheme.instances:
        values, objects = np.unique(inside, return_inverse=True)
        objects = objects.reshape(voxels.shape) + (0 if outside.any() else 1)
        return values[values != 0], objects
    parts = cc3d.connected_components(np.ascontiguousarray(inside), connectivity=26)
    numbers, first = np.unique(parts, return_index=True)
    return inside.ravel()[first[numbers > 0]], parts
