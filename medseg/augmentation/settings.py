"""How strongly and how often a training patch is changed."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from medseg.plugins import PluginSettings
from medseg.settings import Settings

THICK_SLICES = 3.0
"""Ratio of spacings above which an axis counts as thick slices, as in nnU-Net."""

ELONGATED = 1.5
"""Ratio of in-plane patch sides above which full turns would leave the patch."""


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"lower bound {bounds[0]} exceeds upper bound {bounds[1]}")
    return bounds


def _positive(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] <= 0:
        raise ValueError(f"lower bound {bounds[0]} must be above 0")
    return _ordered(bounds)


def _not_negative(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] < 0:
        raise ValueError(f"lower bound {bounds[0]} must not be below 0")
    return _ordered(bounds)


Probability = Annotated[float, Field(ge=0, le=1)]
Factors = Annotated[tuple[float, float], AfterValidator(_positive)]
Amounts = Annotated[tuple[float, float], AfterValidator(_not_negative)]


class TransformSettings(PluginSettings):
    """A transform by path: of batches, or one of MONAI's for each patch."""


class AugmentationSettings(Settings):
    """Probabilities and ranges; the defaults follow nnU-Net's for 3D patches.

    Spatial changes are drawn once per patch, intensity changes once per patch and
    channel. Intensities are those after normalisation, with a deviation near 1.
    """

    enabled: bool = True
    """False gives patches back as they are, cropped to the patch size."""
    flip_axes: tuple[int, ...] | None = None
    """Spatial axes that may be mirrored; none given: all. Leave out the left-right
    axis where labels have sides, such as left and right lung."""
    flip_probability: Probability = 0.5
    """Chance of mirroring, for each of those axes by itself."""
    thick_axis: int | None = None
    """Axis across thick slices. Rotation stays within the slices, and scaling,
    deformation, blur and low resolution leave this axis alone."""
    rotation_probability: Probability = 0.2
    """Chance of a rotation."""
    rotation_degrees: float = Field(default=30.0, ge=0, le=180)
    """Largest angle about each axis, in either direction."""
    scaling_probability: Probability = 0.2
    """Chance of a change of size."""
    scaling: Factors = (0.7, 1.4)
    """Magnification, even on a logarithmic scale; above 1 structures grow."""
    elastic_probability: Probability = 0.0
    """Chance of an elastic deformation."""
    elastic_spacing: int = Field(default=16, ge=4)
    """Distance of the deformation's control points in voxels."""
    elastic_magnitude: float = Field(default=0.3, ge=0, le=0.4)
    """Largest displacement of a control point along each axis, as a share of their
    distance. Below 0.4 space cannot fold (Choi and Lee, Graph Models 2000)."""
    noise_probability: Probability = 0.1
    """Chance of Gaussian noise."""
    noise: Amounts = (0.0, 0.1)
    """Standard deviation of the noise."""
    blur_probability: Probability = 0.1
    """Chance of a Gaussian blur."""
    blur_sigma: Factors = (0.5, 1.0)
    """Standard deviation of the blur in voxels."""
    low_resolution_probability: Probability = 0.125
    """Chance of sampling a coarser grid and interpolating back."""
    low_resolution: Factors = (0.5, 1.0)
    """Share of voxels per axis that the coarser grid keeps."""
    brightness_probability: Probability = 0.15
    """Chance of a change of brightness."""
    brightness: Factors = (0.75, 1.25)
    """Factor on the intensities."""
    contrast_probability: Probability = 0.15
    """Chance of a change of contrast."""
    contrast: Factors = (0.75, 1.25)
    """Factor on the distance from the mean; the range of intensities is kept."""
    gamma_probability: Probability = 0.3
    """Chance of a gamma change that keeps mean and deviation."""
    inverted_gamma_probability: Probability = 0.1
    """Chance of the same on the inverted image."""
    gamma: Factors = (0.7, 1.5)
    """Exponent on intensities scaled to 0 to 1."""
    channel_dropout: Probability = 0.0
    """Chance of each channel of a patch to be set to zero, one always staying; a model
    trained so predicts scans that lack a channel."""
    transforms: tuple[TransformSettings, ...] = ()
    """Others by path, after all of these: a function of batches, or MONAI's transforms
    (dictionary ones with keys ``image`` and ``label``, or array ones of intensities),
    which change each patch on the CPU."""
    keep_zeros: bool = False
    """Voxels that are exactly zero stay zero through the intensity changes; for
    scans whose background was set to zero, such as skull-stripped MR."""


def suggest_augmentation(
    patch_size: Sequence[int],
    *,
    spacing: Sequence[float],
    has_sides: bool = False,
    left_right_axis: int | None = 0,
    keep_zeros: bool = False,
) -> AugmentationSettings:
    """Settings that fit the shape of a patch, after nnU-Net's rules of thumb.

    Unlike there, scans with an anatomical frame are neither mirrored front to back or
    head to foot nor turned by more than 30 degrees, which no patient is: showing such
    scans costs steps and teaches nothing (2D pictures keep full turns and mirrors).

    Args:
        patch_size: Voxels along (i, j, k) or (i, j).
        spacing: Voxel size in mm along the same axes.
        has_sides: Labels distinguish left and right, so left and right must not be
            swapped.
        left_right_axis: Axis that runs from left to right; 0 after reorientation to
            RAS+. A body has no other mirror: front and back, head and foot stay apart.
            None where there is no anatomical frame: every axis may be mirrored.
        keep_zeros: As in the settings.
    """
    axes = range(len(patch_size))
    thick = max(axes, key=lambda axis: spacing[axis])
    in_plane = [axis for axis in axes if len(axes) == 2 or axis != thick]
    is_thick = len(axes) == 3 and spacing[thick] > THICK_SLICES * min(spacing)
    if not is_thick:
        in_plane = list(axes)
    sides = [patch_size[axis] * spacing[axis] for axis in in_plane]
    planar = len(in_plane) == 2
    degrees = 30.0 if not planar else 15.0
    if left_right_axis is None and planar and max(sides) <= ELONGATED * min(sides):
        degrees = 180.0
    if left_right_axis is None:
        flips = tuple(axes)
    else:
        flips = () if has_sides else (left_right_axis,)
    return AugmentationSettings(
        flip_axes=flips,
        thick_axis=thick if is_thick else None,
        rotation_degrees=degrees,
        keep_zeros=keep_zeros,
    )
