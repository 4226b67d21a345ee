"""Augments a batch: space and intensities changed at random, cut to the patch size."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medseg.augmentation.draw import (
    IntensityDraw,
    SpatialDraw,
    draw_intensity,
    draw_spatial,
    send,
)
from medseg.augmentation.settings import AugmentationSettings
from medseg.augmentation.spatial import (
    apply_along_axes,
    bend,
    blur_matrices,
    center_on,
    low_resolution_matrices,
    normalized_theta,
    resample,
    source_matrices,
    spline_weights,
)


def drop_channels(
    images: Tensor,
    probability: float,
    *,
    generator: torch.Generator,
    part_of: tuple[int, int] | None = None,
) -> None:
    """Sets whole channels of some patches to zero, in place; one always stays.

    Zero is what an absent channel reads as at prediction too: the mean of a scan, or
    its background where that was set to zero.

    Args:
        images: Normalised intensities, shape (N, C, *spatial).
        probability: Chance of each channel of each patch.
        generator: On the CPU.
        part_of: Number of the first patch in a larger batch, and that batch's size.

    References:
        Neverova et al., ModDrop, IEEE TPAMI 2016, arXiv:1501.00102.
    """
    first, total = part_of or (0, len(images))
    chances = torch.rand((total, images.shape[1]), generator=generator)
    stays = chances >= probability
    stays[torch.arange(total), chances.argmax(dim=1)] = True
    mine = stays[first : first + len(images)]
    (factors,) = send([mine.to(images.dtype)], images.device)
    images.mul_(factors.view(*mine.shape, *[1] * (images.ndim - 2)))


SMALL = 1e-7


def change_brightness(rows: Tensor, factors: Tensor) -> Tensor:
    """Intensities times a factor."""
    return rows.mul_(factors[:, None])


def change_contrast(rows: Tensor, factors: Tensor) -> Tensor:
    """Distance from the mean times a factor, kept within each row's own range."""
    low, high = rows.aminmax(dim=1, keepdim=True)
    mean = rows.mean(dim=1, keepdim=True)
    rows = rows.sub_(mean).mul_(factors[:, None]).add_(mean)
    return rows.clamp_(low, high)


def change_gamma(rows: Tensor, exponents: Tensor) -> Tensor:
    """Intensities, scaled to 0 to 1, to a power; mean and deviation are kept."""
    mean = rows.mean(dim=1, keepdim=True)
    deviation = rows.std(dim=1, keepdim=True, correction=0)
    low, high = rows.aminmax(dim=1, keepdim=True)
    rows = rows.sub_(low).div_((high - low).clamp_(min=SMALL))
    rows = rows.clamp_(min=0).pow_(exponents[:, None])
    changed = rows.std(dim=1, keepdim=True, correction=0).clamp_(min=SMALL)
    rows = rows.sub_(rows.mean(dim=1, keepdim=True))
    return rows.mul_(deviation / changed).add_(mean)


def change_inverted_gamma(rows: Tensor, exponents: Tensor) -> Tensor:
    """The same on the negative: opens bright parts where gamma opens dark ones."""
    return change_gamma(rows.neg_(), exponents).neg_()


Change = Callable[[Tensor, Tensor], Tensor]

CHANGES: dict[str, Change] = {
    "brightness": change_brightness,
    "contrast": change_contrast,
    "inverted_gamma": change_inverted_gamma,
    "gamma": change_gamma,
}


@torch.no_grad()
def augment_batch(
    images: Tensor,
    labels: Tensor,
    settings: AugmentationSettings,
    *,
    generator: torch.Generator,
    patch_size: Sequence[int],
    spacing: Sequence[float] | None = None,
    part_of: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Randomly changed copies of a batch of patches, in 2D or 3D.

    Everything random follows from the generator. All of it but the noise itself is
    drawn on the CPU and sent in one copy, so nothing waits for the device. On a GPU
    the noise comes from the device's own generator, seeded from the given one.

    What lies beyond the given patches reads as zero with label 0, background, as it
    does where a scan ends. Give patches larger than `patch_size` to avoid it.

    Args:
        images: Normalised intensities, shape (N, C, *spatial), float32; unchanged.
        labels: Label indices, shape (N, *spatial), uint8; values are moved, never
            mixed, `IGNORE_INDEX` too; unchanged.
        settings: What may happen, and how often.
        generator: A generator on the CPU.
        patch_size: Spatial shape of the result; input that differs is cut or padded
            around its centre.
        spacing: Voxel size in mm along the axes, which must be given where voxels are
            not cubes for rotations to keep shapes.
        part_of: Where the patches are a part of a larger batch, the number of the
            first of them and the size of that batch: they change as they would in it.

    Returns:
        Images (N, C, *patch_size) and labels (N, *patch_size) on the same device.

    Raises:
        ValueError: Shapes do not fit together.
    """
    _check_shapes(images, labels, patch_size)
    _check_axes(settings, len(patch_size))
    if not settings.enabled:
        return center_on(images, patch_size), center_on(labels, patch_size)
    first, total = part_of or (0, len(images))
    spatial = draw_spatial(total, patch_size, settings, generator)
    moved, moved_labels = _change_space(
        images,
        labels,
        spatial.part(first, len(images)) if part_of else spatial,
        settings,
        patch_size=patch_size,
        spacing=spacing or [1.0] * len(patch_size),
    )
    channels = images.shape[1]
    intensity = draw_intensity(total * channels, settings, generator)
    flat = moved.view(-1, *patch_size)
    noise = _noise(intensity.rows["noise"], flat, generator, first * channels)
    if part_of:
        intensity = intensity.part(first * channels, len(flat))
    _change_intensity(flat, intensity, settings, noise)
    if settings.channel_dropout > 0:
        drop_channels(
            moved, settings.channel_dropout, generator=generator, part_of=part_of
        )
    return moved, moved_labels


def _check_shapes(images: Tensor, labels: Tensor, patch_size: Sequence[int]) -> None:
    dims = len(patch_size)
    if images.ndim != dims + 2 or dims not in (2, 3):
        raise ValueError(
            f"images have shape {tuple(images.shape)}, expected (N, C, *spatial) for "
            f"patch size {tuple(patch_size)}"
        )
    if labels.shape != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, expected "
            f"{(images.shape[0], *images.shape[2:])} to match the images"
        )


def _check_axes(settings: AugmentationSettings, dims: int) -> None:
    for axis in settings.flip_axes or ():
        if not 0 <= axis < dims:
            raise ValueError(f"flip_axes holds {axis}, patches have {dims} axes")


def _change_space(
    images: Tensor,
    labels: Tensor,
    draw: SpatialDraw,
    settings: AugmentationSettings,
    *,
    patch_size: Sequence[int],
    spacing: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Fresh tensors: mirrored where only mirroring was drawn, else resampled."""
    moved, moved_labels = center_on(images, patch_size), center_on(labels, patch_size)
    resampled = set(draw.rows)
    for row, axes in enumerate(draw.flips):
        if axes and row not in resampled:
            moved[row] = moved[row].flip([axis + 1 for axis in axes])
            moved_labels[row] = moved_labels[row].flip(axes)
    if not draw.rows:
        return moved, moved_labels
    source_size = images.shape[2:]
    matrices = source_matrices(
        draw.angles,
        draw.zooms,
        [draw.flips[row] for row in draw.rows],
        spacing=spacing,
        thick_axis=settings.thick_axis,
    )
    theta = normalized_theta(matrices, source_size=source_size, patch_size=patch_size)
    control = [] if draw.displacements is None else [draw.displacements]
    if control:
        control += [spline_weights(n, settings.elastic_spacing) for n in patch_size]
    at = torch.tensor(draw.rows, dtype=torch.float32)
    at, theta, *control = send([at, theta, *control], images.device)
    rows = at.long()
    field = None
    if control:
        field = bend(control[0], control[1:], source_size=source_size)
    image_rows, label_rows = resample(
        images[rows], labels[rows], theta, patch_size=patch_size, displacements=field
    )
    moved.index_copy_(0, rows, image_rows)
    moved_labels.index_copy_(0, rows, label_rows)
    return moved, moved_labels


def _change_intensity(
    rows: Tensor,
    draw: IntensityDraw,
    settings: AugmentationSettings,
    noise: Tensor,
) -> None:
    """Changes channels (N * C, *patch_size) in place; noise for rows that get it."""
    zeros = rows == 0 if settings.keep_zeros else None
    flat = rows.view(len(rows), -1)
    names = [name for name in ("noise", *CHANGES) if draw.rows[name]]
    packed = [torch.tensor(draw.rows[name], dtype=torch.float32) for name in names]
    softened = sorted({*draw.rows["blur"], *draw.rows["low_resolution"]})
    matrices = _soft_matrices(softened, draw, rows.shape[1:], settings)
    sent = send(
        [
            *packed,
            *[draw.values[name] for name in names],
            torch.tensor(softened, dtype=torch.float32),
            *[matrix for matrix in matrices if matrix is not None],
        ],
        rows.device,
    )
    where = {name: sent[n].long() for n, name in enumerate(names)}
    amount = {name: sent[len(names) + n] for n, name in enumerate(names)}
    if "noise" in where:
        flat.index_add_(0, where["noise"], noise.mul_(amount["noise"][:, None]))
    if softened:
        at = sent[2 * len(names)].long()
        on_device = iter(sent[2 * len(names) + 1 :])
        along = [None if m is None else next(on_device) for m in matrices]
        rows.index_copy_(0, at, apply_along_axes(rows[at], along))
    for name, change in CHANGES.items():
        if name in where:
            changed = change(flat[where[name]], amount[name])
            flat.index_copy_(0, where[name], changed)
    if zeros is not None:
        rows.masked_fill_(zeros, 0)


def _noise(
    rows: list[int], like: Tensor, generator: torch.Generator, first: int
) -> Tensor:
    """Standard normal numbers for those of the rows that `like` holds.

    Args:
        rows: Rows of the whole batch that get noise, in their order.
        like: Rows of the result, shape (r, *spatial), from the given one on.
        generator: On the CPU; seeds one on the device of `like`.
        first: The row of the whole batch that `like` begins with.

    Returns:
        Shape (rows that get noise, voxels), on the device of `like`.
    """
    if not rows:
        return like.new_empty((0, like[0].numel()))
    if like.device.type != "cpu":
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(like.device).manual_seed(seed)
    noise = torch.empty((len(rows), like[0].numel()), device=like.device)
    noise.normal_(generator=generator)
    begin, end = (bisect_left(rows, row) for row in (first, first + len(like)))
    return noise[begin:end]


def _soft_matrices(
    rows: list[int],
    draw: IntensityDraw,
    patch_size: Sequence[int],
    settings: AugmentationSettings,
) -> list[Tensor | None]:
    """For each axis, blur then low resolution of the given rows as one matrix."""
    matrices: list[Tensor | None] = []
    kinds = (
        ("blur", blur_matrices),
        ("low_resolution", low_resolution_matrices),
    )
    for axis, n in enumerate(patch_size):
        if not rows or (len(patch_size) == 3 and axis == settings.thick_axis):
            matrices.append(None)
            continue
        matrix = torch.eye(n).repeat(len(rows), 1, 1)
        for kind, build in kinds:
            if draw.rows[kind]:
                at = [rows.index(row) for row in draw.rows[kind]]
                matrix[at] = build(n, draw.values[kind]) @ matrix[at]
        matrices.append(matrix)
    return matrices
