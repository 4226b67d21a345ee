"""Single objects of a scan: finished rows of logits kept as bytes, then decoded."""

from dataclasses import dataclass, field

import numpy as np
import torch

from medseg.inference.host_copies import HostCopies
from medseg.inference.streaming import LogitSlab
from medseg.inference.tiling import Box, with_rows
from medseg.instances.decoding import decode
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import ObjectMaps
from medseg.labels import LabelScheme
from medseg.placement import Placement
from medseg.plan import Plan
from medseg.preparation.normalization import FaintPicture, contrasts_of
from medseg.resampling import resample_objects
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


@dataclass(frozen=True)
class ObjectMapWriter:
    """Takes rows of logits of levels; what is kept needs two bytes a voxel."""

    depths: ObjectMaps
    copies: HostCopies = field(default_factory=HostCopies)

    @classmethod
    def start(cls, shape: tuple[int, ...]) -> "ObjectMapWriter":
        """An empty map for an image of the given shape."""
        empty = (np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
        return cls(ObjectMaps(*empty))

    @property
    def whole(self) -> Box:
        """All voxels of the target."""
        return tuple(slice(0, n) for n in self.depths.depth.shape)

    def region(self, block: Box) -> Box:
        """The block itself: the map lies on the grid of the logits."""
        return block

    def put(self, rows: LogitSlab, block: Box) -> None:
        """Keeps what new rows say.

        Args:
            rows: Of `region(block)`, in order along one axis.
            block: Voxels of the target.
        """
        place = with_rows(block, rows.axis, rows.new, rows.stop)

        def keep(shares: np.ndarray) -> None:
            part = ObjectMaps.of_probabilities(shares)
            self.depths.foreground[place] = part.foreground
            self.depths.depth[place] = part.depth

        self.copies.use(torch.softmax(rows.logits(), dim=0), keep)

    def finish(self) -> None:
        """After the last rows: waits for those that a GPU has not handed over yet."""
        self.copies.finish()


def decode_prepared(
    depths: ObjectMaps, plan: Plan, settings: DecodingSettings
) -> LabelArray:
    """Objects on the prepared grid, uint32, shape (I, J, K).

    Objects of 2D networks live in one slice; their numbers differ between slices.
    """
    if plan.spatial_dims == 3:
        return decode(depths, settings)
    labels: LabelArray = np.zeros(depths.depth.shape, dtype=np.uint32)
    count = 0
    for k in range(labels.shape[-1]):
        part = ObjectMaps(depths.foreground[..., k], depths.depth[..., k])
        found = decode(part, settings)
        labels[..., k] = np.where(found > 0, found + count, 0)
        count += int(found.max(initial=0))
    return labels


def on_scan(labels: LabelArray, placement: Placement, scheme: LabelScheme) -> LabelMap:
    """Objects of the prepared grid on the scan's own, as values of files."""
    if placement.is_resampled:
        prepared = LabelMap(labels, placement.prepared.affine)
        labels = resample_objects(prepared, placement.cropped).voxels
    values = object_values(int(labels.max(initial=0)), scheme)
    pasted = placement.paste(values[labels], fill=scheme.background)
    return LabelMap(pasted, placement.source.affine)


def object_values(count: int, scheme: LabelScheme) -> LabelArray:
    """Value in files of each number from 0 on; none is background's or ignored.

    Returns:
        The smallest of uint8, uint16 and uint32 that holds them, shape (count + 1,).
    """
    reserved = [scheme.background, *([] if scheme.ignore is None else [scheme.ignore])]
    free = np.setdiff1d(np.arange(1, count + len(reserved) + 1), reserved)[:count]
    values = np.array([scheme.background, *free])
    kind = np.min_scalar_type(int(values.max()))
    return values.astype(np.int64 if values.min() < 0 else kind)
