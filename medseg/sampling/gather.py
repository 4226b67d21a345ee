"""From draws to batches: reads the patches and pads what lies outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from medseg.labels import IGNORE_INDEX
from medseg.sampling.strategy import Draw
from medseg.store import StoredCase
from medseg.store.arrays import Box

if TYPE_CHECKING:
    import torch

Padding: TypeAlias = Literal["zero", "edge"]
"""Outside a case: zeros of no structure, or the border repeated and not scored."""


@dataclass(frozen=True)
class PatchBatch:
    """Patches of one training step.

    Attributes:
        images: float32, shape (N, C, I, J, K) or (N, C, I, J).
        labels: Label indices, uint8, shape (N, I, J, K) or (N, I, J).
        targets: What augmentation moves (`StoredCase.target`), of the same shape;
            the labels themselves where no single objects are kept.
        draws: Where each patch came from.
    """

    images: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    draws: tuple[Draw, ...]

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Name of each patch's case."""
        return tuple(draw.case_id for draw in self.draws)


def gather(
    cases: Sequence[StoredCase],
    draws: Sequence[Draw],
    *,
    spatial_dims: int,
    padding: Padding = "zero",
) -> PatchBatch:
    """The patches that were drawn, as one batch on the CPU.

    Args:
        cases: The sequence that the sampler was given.
        draws: What it drew.
        spatial_dims: 2 drops the last axis.
        padding: What lies outside of a case.
    """
    import torch

    size = draws[0].size
    channels = cases[draws[0].case_index].num_channels
    images = torch.empty((len(draws), channels, *size), dtype=torch.float32)
    labels = targets = torch.empty((len(draws), *size), dtype=torch.uint8)
    if cases[draws[0].case_index].is_painted:
        targets = torch.empty_like(labels)
    for number, draw in enumerate(draws):
        case = cases[draw.case_index]
        _fill(images[number], labels[number], case, draw, padding)
        if targets is not labels:
            _fill_values(targets[number], case.target, case, draw, padding)
    if spatial_dims == 2:
        images, labels, targets = images[..., 0], labels[..., 0], targets[..., 0]
    return PatchBatch(images, labels, targets, tuple(draws))


def _fill(
    image: torch.Tensor,
    label: torch.Tensor,
    case: StoredCase,
    draw: Draw,
    padding: Padding,
) -> None:
    """Copies one patch; half precision becomes single on the way."""
    import torch

    box, to, inside = _places(case, draw)
    if not inside:
        image.zero_()
    part = np.asarray(case.image[(slice(None), *box)])
    image[(slice(None), *to)].copy_(torch.from_numpy(part))
    _fill_values(label, case.label, case, draw, padding)
    if padding == "edge" and not inside:
        _repeat_border(image.numpy(), to)


def _fill_values(
    patch: torch.Tensor, values: Any, case: StoredCase, draw: Draw, padding: Padding
) -> None:
    """Copies the labels of one patch, or what stands for them."""
    import torch

    box, to, inside = _places(case, draw)
    if not inside:
        patch.fill_(0 if padding == "zero" else IGNORE_INDEX)
    patch[to].copy_(torch.from_numpy(np.asarray(values[box])))


def _places(case: StoredCase, draw: Draw) -> tuple[Box, Box, bool]:
    """Where the known part lies in the case and in the patch, and if that is all."""
    box = draw.inside(case.shape)
    i, j, k = (
        slice(part.start - start, part.stop - start)
        for part, start in zip(box, draw.corner, strict=True)
    )
    known = tuple(part.stop - part.start for part in (i, j, k))
    return box, (i, j, k), known == draw.size


def _repeat_border(image: np.ndarray, inside: tuple[slice, ...]) -> None:
    """Repeats the outermost known voxels over what lies outside, axis by axis."""
    for axis, part in enumerate(inside, start=1):
        view = np.moveaxis(image, axis, 0)
        view[: part.start] = view[part.start]
        view[part.stop :] = view[part.stop - 1]
