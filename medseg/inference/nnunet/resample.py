"""nnU-Net's ways to resample, for scans, label maps and logits.

`resize` is scikit-image's ``resize`` with edges repeated and no anti-aliasing, which
is scipy's ``zoom`` on the grid of voxel faces. Where the voxels are much longer along
one axis, nnU-Net resizes slice by slice and takes the nearest slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.nnunet_recipe import NnUNetResampling


@dataclass(frozen=True)
class Resize:
    """From one grid to another over the same field of view.

    Attributes:
        how: nnU-Net's function and its arguments.
        shape: Of the result, (a, b, c).
        axis: The axis along which the nearest slices are taken; None for none.
    """

    how: NnUNetResampling
    shape: tuple[int, int, int]
    axis: int | None

    @classmethod
    def between(
        cls,
        how: NnUNetResampling,
        shape: Sequence[int],
        *,
        spacing: Sequence[float],
        new_spacing: Sequence[float],
    ) -> "Resize":
        """As nnU-Net decides from the voxel sizes before and after."""
        first, second, third = (int(n) for n in shape)
        axis = separate_axis(how, spacing, new_spacing)
        return cls(how, (first, second, third), axis)

    @property
    def is_linear(self) -> bool:
        """Whether each new voxel is a weighted mean of its neighbours, in float64.

        Slices may be copied along one axis.
        """
        return (
            self.how.function == "resample_data_or_seg_to_shape"
            and self.how.order == 1
            and (self.axis is None or self.how.order_z == 0)
        )

    def changes(self, shape: Sequence[int]) -> bool:
        """Whether anything is done to an array of a shape."""
        return self.how.function != "no_resampling_hack" and self.shape != tuple(shape)

    def image(self, channel: np.ndarray) -> np.ndarray:
        """One channel of intensities on the new grid, float64 or float32."""
        if not self.changes(channel.shape):
            return channel
        if self.how.function == "resample_torch_fornnunet":
            return self._by_torch(channel)
        return self._by_spline(channel.astype(np.float64))

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """A label map on the new grid: of each label's share, the largest wins."""
        if not self.changes(labels.shape):
            return labels
        values = np.unique(labels)
        if self.how.function == "resample_torch_fornnunet":
            return self._labels_by_torch(labels, values)
        if self.axis is None:
            return resize_labels(labels, self.shape, order=self.how.order)
        return self._labels_by_slices(labels)

    def _by_spline(self, channel: np.ndarray) -> np.ndarray:
        if self.axis is None:
            return resize(channel, self.shape, order=self.how.order)
        slices = np.moveaxis(channel, self.axis, 0)
        flat = tuple(n for axis, n in enumerate(self.shape) if axis != self.axis)
        found = np.stack([resize(s, flat, order=self.how.order) for s in slices])
        if self.how.order_z == 0:
            found = found[nearest_slices(len(slices), self.shape[self.axis])]
        elif len(slices) != self.shape[self.axis]:
            found = _across(found, self.shape[self.axis], self.how.order_z)
        return np.moveaxis(found, 0, self.axis)

    def _labels_by_slices(self, labels: np.ndarray) -> np.ndarray:
        assert self.axis is not None
        slices = np.moveaxis(labels, self.axis, 0)
        flat = tuple(n for axis, n in enumerate(self.shape) if axis != self.axis)
        found = np.stack([resize_labels(s, flat, order=self.how.order) for s in slices])
        count = self.shape[self.axis]
        if self.how.order_z == 0:
            found = found[nearest_slices(len(slices), count)]
        elif len(slices) != count:
            whole = np.zeros((count, *flat), found.dtype)
            for value in np.unique(found):
                share = _across((found == value).astype(float), count, self.how.order_z)
                whole[np.round(share) > 0.5] = value
            found = whole
        return np.moveaxis(found, 0, self.axis)

    def _by_torch(self, channel: np.ndarray) -> np.ndarray:
        values = torch.from_numpy(np.ascontiguousarray(channel)).float()
        if self.axis is None:
            return _interpolated(values, self.shape, "trilinear").numpy()
        slices = values.movedim(self.axis, 0)
        flat = [n for axis, n in enumerate(self.shape) if axis != self.axis]
        mode = "bilinear" if self.how.mode == "linear" else self.how.mode
        if list(slices.shape[1:]) != flat:
            slices = torch.nn.functional.interpolate(slices[None], flat, mode=mode)[0]
        whole = slices.movedim(0, self.axis)
        if tuple(whole.shape) == self.shape:
            return whole.numpy()
        mode = self.how.aniso_axis_mode
        mode = "trilinear" if mode == "linear" else mode
        return _interpolated(whole.contiguous(), self.shape, mode).numpy()

    def _labels_by_torch(self, labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The label with the largest share (rounded to float16), of equal the first.

        The variant that saves memory gives a voxel the last label that has more than
        half, and 0 where none has.
        """
        found = np.zeros(self.shape, labels.dtype)
        if self.how.memefficient_seg_resampling:
            for value in values:
                found[self._by_torch((labels == value).astype(np.float32)) > 0.5] = (
                    value
                )
            return found
        best = np.full(self.shape, -1, np.float16)
        for value in values:
            thousands = np.where(labels == value, np.float32(1000), np.float32(0))
            share = self._by_torch(thousands).astype(np.float16)
            found[share > best] = value
            np.maximum(best, share, out=best)
        return found


def separate_axis(
    how: NnUNetResampling, spacing: Sequence[float], new_spacing: Sequence[float]
) -> int | None:
    """The axis that is resampled apart, by nnU-Net's rule; None for none.

    The one with the largest voxel side of the first grid that is anisotropic, before
    or after; none where two axes share that side.
    """
    if how.force_separate_z is not None:
        deciding = spacing if how.force_separate_z else None
    else:
        most = how.separate_z_anisotropy_threshold
        grids = (spacing, new_spacing)
        deciding = next((s for s in grids if max(s) / min(s) > most), None)
    if deciding is None:
        return None
    longest = [axis for axis, n in enumerate(deciding) if max(deciding) / n == 1]
    return longest[0] if len(longest) == 1 else None


def new_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[int, int, int]:
    """Voxels on the new grid, rounded as nnU-Net does (halves to even)."""
    first, second, third = (
        round(old / new * count)
        for old, new, count in zip(spacing, new_spacing, shape, strict=True)
    )
    return (first, second, third)


def resize(values: np.ndarray, shape: Sequence[int], *, order: int) -> np.ndarray:
    """Spline interpolation with edges repeated, clipped to the range of the input."""
    from scipy import ndimage

    factors = np.divide(values.shape, shape)
    found: np.ndarray = ndimage.zoom(
        values,
        [1 / factor for factor in factors],
        order=order,
        mode="nearest",
        grid_mode=True,
    )
    if order > 1:
        np.clip(found, values.min(), values.max(), out=found)
    return found


def resize_labels(
    labels: np.ndarray, shape: Sequence[int], *, order: int
) -> np.ndarray:
    """Labels resized by each one's share; the largest wins.

    Where several labels share the largest, the nearest voxel's label decides if it is
    one of them, else the smallest, as batchgenerators 0.25.5 does.
    """
    nearest = resize(labels.astype(np.float64), shape, order=0).astype(labels.dtype)
    values = np.unique(labels)
    if order == 0 or len(values) == 1:
        return nearest
    best = np.full(nearest.shape, -np.inf)
    found = np.zeros(nearest.shape, labels.dtype)
    is_nearest_best = np.zeros(nearest.shape, bool)
    for value in values:
        share = resize((labels == value).astype(np.float64), shape, order=order)
        better = share > best
        level = (share == best) & (share > 0) & (nearest == value)
        is_nearest_best |= level
        is_nearest_best[better] = nearest[better] == value
        found[better] = value
        np.maximum(best, share, out=best)
    found[is_nearest_best] = nearest[is_nearest_best]
    return found


def nearest_slices(count: int, new_count: int) -> np.ndarray:
    """Index of the slice that each new slice is a copy of."""
    if count == new_count:
        return np.arange(count)
    return _across(np.arange(count, dtype=float), new_count, 0).astype(int)


def _across(slices: np.ndarray, count: int, order: int) -> np.ndarray:
    """Spline interpolation along the first axis alone."""
    from scipy import ndimage

    scale = len(slices) / count
    where = scale * (np.arange(count) + 0.5) - 0.5
    if slices.ndim == 1:
        found = ndimage.map_coordinates(slices, [where], order=order, mode="nearest")
        return np.asarray(found)
    rows, columns = slices.shape[1:]
    grid = np.meshgrid(where, np.arange(rows), np.arange(columns), indexing="ij")
    return np.asarray(
        ndimage.map_coordinates(slices, np.array(grid), order=order, mode="nearest")
    )


def _interpolated(values: Tensor, shape: Sequence[int], mode: str) -> Tensor:
    whole = values[None, None]
    return torch.nn.functional.interpolate(whole, tuple(shape), mode=mode)[0, 0]
