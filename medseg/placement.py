"""Where a prepared scan came from, and the way back to its own grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.geometry import Grid, Reorientation
from medseg.labels import LabelScheme
from medseg.resampling import resample_label_map
from medseg.types import Affine, LabelArray, Shape, SpatialArray
from medseg.volume import LabelMap

CropBox = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First and past-the-last voxel along each axis."""


@dataclass(frozen=True)
class Placement:
    """How a prepared grid lies in the scan it was made from.

    A scan is reoriented, cropped, and then resampled; the way back is resampling
    from `prepared` to `cropped`, then `paste`. The first step can be done slab by
    slab, since each voxel of `cropped` needs only its neighbours in `prepared`.
    """

    source: Grid
    """The scan as it was read."""
    reorientation: Reorientation
    """Applied first."""
    crop: CropBox
    """Applied second, in voxels of the reoriented scan."""
    prepared: Grid
    """What the network sees."""

    @property
    def reoriented(self) -> Grid:
        """The scan after its voxel axes were permuted and flipped."""
        order = self.reorientation.order
        shape = self.source.shape
        return Grid(
            (shape[order[0]], shape[order[1]], shape[order[2]]),
            self.reorientation.apply_to_affine(self.source.affine, shape),
        )

    @property
    def cropped(self) -> Grid:
        """The part of the reoriented scan that was kept."""
        return crop_grid(self.reoriented, self.crop)

    @property
    def is_resampled(self) -> bool:
        """Whether the prepared grid has other voxels than the scan."""
        return bool(self.cropped.mismatch(self.prepared, tolerance_mm=1e-4))

    def paste(self, cropped: SpatialArray, *, fill: int = 0) -> SpatialArray:
        """An array on the cropped grid, put back onto the scan's own grid.

        Args:
            cropped: Shape of `cropped`.
            fill: What the margin that was cut away becomes.
        """
        whole = np.full(self.reoriented.shape, fill, dtype=cropped.dtype)
        whole[slices_of(self.crop)] = cropped
        return np.ascontiguousarray(self.reorientation.undo(whole))

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "source": _grid_to_json(self.source),
            "order": list(self.reorientation.order),
            "flips": list(self.reorientation.flips),
            "crop": [list(pair) for pair in self.crop],
            "prepared": _grid_to_json(self.prepared),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Placement":
        """The placement that `to_json` described."""
        a, b, c = ((int(start), int(stop)) for start, stop in values["crop"])
        return cls(
            source=_grid_from_json(values["source"]),
            reorientation=Reorientation(
                order=tuple(values["order"]), flips=tuple(values["flips"])
            ),
            crop=(a, b, c),
            prepared=_grid_from_json(values["prepared"]),
        )


def restore(
    indices: LabelArray, placement: Placement, *, scheme: LabelScheme | None = None
) -> LabelMap:
    """A label map on the scan's own grid, from label indices on the prepared grid.

    Labels move by linear vote; what was cropped away is background.

    Args:
        indices: Label indices, shape of the prepared grid.
        placement: What `preprocess` returned for the scan.
        scheme: Turns indices into the values that files hold; without it the
            result holds indices.
    """
    prepared = LabelMap(indices, placement.prepared.affine)
    placement.prepared.require_match(prepared.grid, what="label indices to restore")
    if placement.is_resampled:
        prepared = resample_label_map(prepared, placement.cropped)
    restored = placement.paste(prepared.voxels)
    values = restored if scheme is None else scheme.to_values(restored)
    return LabelMap(values, placement.source.affine)


def crop_grid(grid: Grid, crop: CropBox) -> Grid:
    """The part of a grid inside a box; voxels keep their positions."""
    shape: Shape = (
        crop[0][1] - crop[0][0],
        crop[1][1] - crop[1][0],
        crop[2][1] - crop[2][0],
    )
    affine: Affine = grid.affine.copy()
    start = np.asarray([pair[0] for pair in crop], dtype=float)
    affine[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
    return Grid(shape, affine)


def slices_of(crop: CropBox) -> tuple[slice, slice, slice]:
    """The box as slices of an array."""
    return (slice(*crop[0]), slice(*crop[1]), slice(*crop[2]))


def _grid_to_json(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _grid_from_json(values: dict[str, Any]) -> Grid:
    i, j, k = (int(size) for size in values["shape"])
    return Grid((i, j, k), np.asarray(values["affine"], dtype=np.float64))
