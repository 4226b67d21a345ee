"""Cropping, normalising and resampling of a scan, in nnU-Net's order.

The scan is cropped to its non-zero region, normalised, and resampled last: normalising
after resampling would see voxels that interpolation made.
"""

from dataclasses import dataclass

import numpy as np

from medseg.errors import InputError
from medseg.inference.nnunet.resample import Resize, new_shape
from medseg.nnunet_recipe import NnUNetChannel, NnUNetRecipe

OUTSIDE = -1
"""Label of what lies outside of the non-zero region."""
_TINY = 1e-8
Box = tuple[slice, slice, slice]
Sides = tuple[float, float, float]


@dataclass(frozen=True)
class NnUNetInput:
    """What the network's windows are cut from.

    Attributes:
        voxels: Float32, shape (C, a, b, c).
        box: The part of the scan that was kept.
        cropped: Shape of that part.
        spacing: Of the scan.
        new_spacing: Of `voxels`.
    """

    voxels: np.ndarray
    box: Box
    cropped: tuple[int, int, int]
    spacing: Sides
    new_spacing: Sides


def prepare(
    voxels: np.ndarray,
    spacing: Sides,
    recipe: NnUNetRecipe,
    *,
    previous: np.ndarray | None = None,
    name: str = "scan",
) -> NnUNetInput:
    """A scan as the network expects it.

    Args:
        voxels: Float32 (C, a, b, c) in nnU-Net's axes; changed in place.
        spacing: Of the scan along (a, b, c).
        recipe: The model's.
        previous: The previous stage's label map, shape (a, b, c), for a cascade.
        name: Case or file, for error messages.

    Raises:
        InputError: A channel does not fit its normalisation.
    """
    box = nonzero_box(voxels)
    data = voxels[(slice(None), *box)]
    region = None
    labels = None if previous is None else previous[box].astype(np.float32)
    if labels is not None or any(channel.use_mask for channel in recipe.channels):
        region = filled_nonzero(voxels)[box]
    if labels is not None and region is not None:
        labels[(labels == 0) & ~region] = OUTSIDE
    inside = region if labels is None else labels >= 0
    for channel, settings in zip(data, recipe.channels, strict=True):
        normalize(channel, settings, inside=inside, name=name)
    first, second, third = data.shape[1:]
    target = network_spacing(recipe, spacing)
    shape = new_shape(data.shape[1:], spacing, target)
    resampling = Resize.between(
        recipe.resampling_data, shape, spacing=spacing, new_spacing=target
    )
    parts = [resampling.image(channel).astype(np.float32) for channel in data]
    if labels is not None:
        moved = Resize.between(
            recipe.resampling_labels, shape, spacing=spacing, new_spacing=target
        ).labels(labels)
        parts += [(moved == value).astype(np.float32) for value in recipe.foreground]
    return NnUNetInput(np.stack(parts), box, (first, second, third), spacing, target)


def network_spacing(recipe: NnUNetRecipe, spacing: Sides) -> Sides:
    """The network's voxel size for a scan; networks of slices leave the first axis."""
    if len(recipe.spacing) == 2:
        return (spacing[0], recipe.spacing[0], recipe.spacing[1])
    return (recipe.spacing[0], recipe.spacing[1], recipe.spacing[2])


def nonzero_box(voxels: np.ndarray) -> Box:
    """The smallest box around voxels that are not zero in some channel.

    All of the image where every voxel is zero.
    """
    mask = (voxels != 0).any(axis=0)
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        whole = not len(found)
        slices.append(
            slice(0, mask.shape[axis])
            if whole
            else slice(int(found[0]), int(found[-1]) + 1)
        )
    return (slices[0], slices[1], slices[2])


def filled_nonzero(voxels: np.ndarray) -> np.ndarray:
    """Where some channel is not zero, holes filled; shape (a, b, c)."""
    from scipy import ndimage

    mask = (voxels != 0).any(axis=0)
    return mask if mask.all() else np.asarray(ndimage.binary_fill_holes(mask))


def normalize(
    image: np.ndarray, channel: NnUNetChannel, *, inside: np.ndarray | None, name: str
) -> None:
    """Normalises a float32 channel in place, as the scheme of that name does.

    Args:
        image: Shape (a, b, c).
        channel: Scheme and numbers.
        inside: Voxels to take statistics over and to change, where the scheme masks.
        name: Case or file, for error messages.

    Raises:
        InputError: The scheme is for colours of 8 bits, and these are none.
    """
    if channel.scheme == "ZScoreNormalization":
        _zscore(image, inside if channel.use_mask else None)
    elif channel.scheme == "CTNormalization":
        np.clip(image, channel.low, channel.high, out=image)
        image -= channel.mean
        image /= max(channel.std, _TINY)
    elif channel.scheme == "RescaleTo01Normalization":
        image -= image.min()
        image /= np.clip(image.max(), a_min=_TINY, a_max=None)
    elif channel.scheme == "RGBTo01Normalization":
        low, high = float(image.min()), float(image.max())
        if low < 0 or high > 255:
            raise InputError(
                f"{name}: values from {low:g} to {high:g}, the model was trained on "
                "colours of 8 bits (0 to 255)"
            )
        image /= 255.0


def _zscore(image: np.ndarray, mask: np.ndarray | None) -> None:
    if mask is None:
        mean, std = image.mean(), image.std()
        image -= mean
        image /= max(std, _TINY)
        return
    mean, std = image[mask].mean(), image[mask].std()
    image[mask] = (image[mask] - mean) / max(std, _TINY)
