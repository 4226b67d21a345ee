"""The layers of a 3D Slicer segmentation as one label map.

Segments that overlap lie in layers of their own, where values may occur again; the
pair of layer and value says which segment a voxel belongs to.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import LabelError
from medseg.io.itk_header import SlicerSegment


def labels_of_layers(
    layers: np.ndarray, segments: Sequence[SlicerSegment], path: Path
) -> tuple[np.ndarray, dict[str, int]]:
    """One label per voxel, and the value of each named segment.

    Values are the file's where they are distinct, else 1, 2, ... in the order of the
    segments. Segments of one name are one structure.

    Args:
        layers: Values as stored, integers, shape (L, I, J, K).
        segments: What they mean.
        path: File, for the messages.

    Raises:
        LabelError: Segments share voxels, a layer is missing, or two segments have
            the same value in the same layer.
    """
    _check(layers, segments, path)
    distinct = len({segment.value for segment in segments}) == len(segments)
    names: dict[str, int] = {}
    for number, segment in enumerate(segments, start=1):
        names.setdefault(segment.name, segment.value if distinct else number)
    if distinct and len(layers) == 1 and len(names) == len(segments):
        return layers[0], names
    low, high = min(0, *names.values()), max(names.values())
    voxels = np.zeros(
        layers.shape[1:],
        dtype=np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)),
    )
    for number, segment in enumerate(segments):
        inside = layers[segment.layer] == segment.value
        for other in segments[:number]:
            both = inside & (layers[other.layer] == other.value)
            if both.any() and other.name != segment.name:
                raise LabelError(
                    f"{path}: segments {other.name} (layer {other.layer}) and "
                    f"{segment.name} (layer {segment.layer}) share "
                    f"{np.count_nonzero(both)} voxels, and a label map holds one "
                    "structure per voxel; make them exclusive in 3D Slicer, or export "
                    "the wanted segments alone"
                )
        voxels[inside] = names[segment.name]
    return voxels, names


def _check(layers: np.ndarray, segments: Sequence[SlicerSegment], path: Path) -> None:
    places = [(segment.layer, segment.value) for segment in segments]
    if len(set(places)) < len(places):
        raise LabelError(
            f"{path}: two segments have the same value in the same layer; save the "
            "segmentation again in 3D Slicer"
        )
    deepest = max(segment.layer for segment in segments)
    if deepest >= len(layers):
        raise LabelError(
            f"{path}: a segment lies in layer {deepest}, of {len(layers)} in the file; "
            "save the segmentation again in 3D Slicer"
        )
