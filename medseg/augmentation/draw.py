"""The random choices for one batch, drawn on the CPU and sent to the device once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medseg.augmentation.settings import AugmentationSettings


@dataclass(frozen=True)
class SpatialDraw:
    """Which patches are mirrored, turned, scaled or bent, and how."""

    flips: list[tuple[int, ...]]
    """Spatial axes to mirror, one tuple per patch."""
    rows: list[int]
    """Patches that need resampling."""
    angles: Tensor
    """Radians about each axis, shape (rows, 3), or (rows, 1) in 2D."""
    zooms: Tensor
    """Magnification, shape (rows,)."""
    displacements: Tensor | None
    """Control points' displacement in voxels, (rows, D, *control points)."""

    def part(self, first: int, count: int) -> "SpatialDraw":
        """The draw for some patches of the batch, counted from the first of them."""
        kept = [n for n, row in enumerate(self.rows) if 0 <= row - first < count]
        moved = self.displacements
        return SpatialDraw(
            flips=self.flips[first : first + count],
            rows=[self.rows[n] - first for n in kept],
            angles=self.angles[kept],
            zooms=self.zooms[kept],
            displacements=None if moved is None else moved[kept],
        )


@dataclass(frozen=True)
class IntensityDraw:
    """Which channels of which patches change, and how; row = patch * C + channel."""

    rows: dict[str, list[int]] = field(default_factory=dict)
    """Rows that each kind of change applies to."""
    values: dict[str, Tensor] = field(default_factory=dict)
    """The amount of change for each of those rows."""

    def part(self, first: int, count: int) -> "IntensityDraw":
        """The draw for some rows, counted from the first of them."""
        draw = IntensityDraw()
        for name, rows in self.rows.items():
            kept = [n for n, row in enumerate(rows) if 0 <= row - first < count]
            draw.rows[name] = [rows[n] - first for n in kept]
            draw.values[name] = self.values[name][kept]
        return draw


INTENSITY_CHANGES = (
    "noise",
    "blur",
    "low_resolution",
    "brightness",
    "contrast",
    "inverted_gamma",
    "gamma",
)


def draw_intensity(
    num_rows: int, settings: AugmentationSettings, generator: torch.Generator
) -> IntensityDraw:
    """Intensity changes for a batch of `num_rows` channels.

    The count of random numbers does not depend on what they turn out to be, so a
    generator stands at the same place after every batch of the same shape.
    """
    bounds = {
        "noise": settings.noise,
        "blur": settings.blur_sigma,
        "low_resolution": settings.low_resolution,
        "brightness": settings.brightness,
        "contrast": settings.contrast,
        "inverted_gamma": settings.gamma,
        "gamma": settings.gamma,
    }
    chances = torch.rand((len(INTENSITY_CHANGES), num_rows), generator=generator)
    amounts = torch.rand((len(INTENSITY_CHANGES), num_rows), generator=generator)
    draw = IntensityDraw()
    for change, chance, amount in zip(INTENSITY_CHANGES, chances, amounts, strict=True):
        hit = chance < getattr(settings, f"{change}_probability")
        low, high = bounds[change]
        draw.rows[change] = hit.nonzero().flatten().tolist()
        draw.values[change] = low + (high - low) * amount[hit]
    return draw


def draw_spatial(
    num_patches: int,
    patch_size: Sequence[int],
    settings: AugmentationSettings,
    generator: torch.Generator,
) -> SpatialDraw:
    """Spatial changes for a batch; identity where a change was not drawn."""
    dims = len(patch_size)
    num_angles = 3 if dims == 3 else 1
    uniform = torch.rand((num_patches, dims + 4 + num_angles), generator=generator)
    flip_chance, rest = uniform[:, :dims], uniform[:, dims:]
    rotated = rest[:, 0] < settings.rotation_probability
    scaled = rest[:, 1] < settings.scaling_probability
    bent = rest[:, 2] < settings.elastic_probability
    angles = _angles(rest[:, 4:], settings) * rotated[:, None]
    low, high = (math.log(bound) for bound in settings.scaling)
    zooms = torch.exp((low + (high - low) * rest[:, 3]) * scaled)
    rows = (rotated | scaled | bent).nonzero().flatten()
    displacements = None
    if settings.elastic_probability > 0:
        displacements = _displacements(num_patches, patch_size, settings, generator)
        displacements = displacements[rows] * bent[rows].view(-1, *[1] * (dims + 1))
    allowed = range(dims) if settings.flip_axes is None else settings.flip_axes
    mirrored = (flip_chance < settings.flip_probability).tolist()
    return SpatialDraw(
        flips=[tuple(a for a in allowed if patch[a]) for patch in mirrored],
        rows=rows.tolist(),
        angles=angles[rows],
        zooms=zooms[rows],
        displacements=displacements,
    )


def _angles(uniform: Tensor, settings: AugmentationSettings) -> Tensor:
    angles = (2 * uniform - 1) * math.radians(settings.rotation_degrees)
    if settings.thick_axis is not None and angles.shape[1] == 3:
        kept = torch.zeros(3)
        kept[settings.thick_axis] = 1
        angles = angles * kept
    return angles


def _displacements(
    num_patches: int,
    patch_size: Sequence[int],
    settings: AugmentationSettings,
    generator: torch.Generator,
) -> Tensor:
    """Uniform displacements of a grid with one control point beyond each border."""
    dims = len(patch_size)
    grid = [num_control_points(n, settings.elastic_spacing) for n in patch_size]
    uniform = torch.rand((num_patches, dims, *grid), generator=generator)
    reach = settings.elastic_magnitude * settings.elastic_spacing
    moved = (2 * uniform - 1) * reach
    if settings.thick_axis is not None and dims == 3:
        moved[:, settings.thick_axis] = 0
    return moved


def num_control_points(num_voxels: int, spacing: int) -> int:
    """Control points of a cubic B-spline that covers an axis of `num_voxels`."""
    return math.ceil(max(num_voxels - 1, 1) / spacing) + 3


def send(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The float tensors on the device, moved in one copy that nobody waits for."""
    if device.type == "cpu":
        return list(tensors)
    packed = torch.cat([tensor.flatten() for tensor in tensors])
    if device.type == "cuda":
        packed = packed.pin_memory()
    moved = packed.to(device, non_blocking=True)
    parts = torch.split(moved, [tensor.numel() for tensor in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]
