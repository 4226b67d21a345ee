"""From draws to batches: reads the patches and pads what lies outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from medseg.labels import IGNORE_INDEX
from medseg.preparation import StoredCase
from medseg.sampling.draw import Draw

if TYPE_CHECKING:
    import torch

Padding: TypeAlias = Literal["zero", "edge"]
"""Outside a case: zeros of no structure, or the border repeated and not scored."""


@dataclass(frozen=True)
class Batch:
    """Patches of one training step.

    Attributes:
        images: float32, shape (N, C, I, J, K) or (N, C, I, J).
        labels: Label indices, or colours of single objects (`StoredCase.target`),
            uint8, shape (N, I, J, K) or (N, I, J).
        draws: Where each patch came from.
    """

    images: torch.Tensor
    labels: torch.Tensor
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
) -> Batch:
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
    labels = torch.empty((len(draws), *size), dtype=torch.uint8)
    for number, draw in enumerate(draws):
        case = cases[draw.case_index]
        _fill(images[number], labels[number], case, draw, padding)
    if spatial_dims == 2:
        images, labels = images[..., 0], labels[..., 0]
    return Batch(images, labels, tuple(draws))


def _fill(
    image: torch.Tensor,
    label: torch.Tensor,
    case: StoredCase,
    draw: Draw,
    padding: Padding,
) -> None:
    """Copies one patch; half precision becomes single on the way."""
    import torch

    box = draw.inside(case.shape)
    to = tuple(
        slice(part.start - start, part.stop - start)
        for part, start in zip(box, draw.corner, strict=True)
    )
    inside = tuple(part.stop - part.start for part in to) == draw.size
    if not inside:
        image.zero_()
        label.fill_(0 if padding == "zero" else IGNORE_INDEX)
    part = np.asarray(case.image[(slice(None), *box)])
    image[(slice(None), *to)].copy_(torch.from_numpy(part))
    label[to].copy_(torch.from_numpy(np.asarray(case.target[box])))
    if padding == "edge" and not inside:
        _repeat_border(image.numpy(), to)


def _repeat_border(image: np.ndarray, inside: tuple[slice, ...]) -> None:
    """Repeats the outermost known voxels over what lies outside, axis by axis."""
    for axis, part in enumerate(inside, start=1):
        view = np.moveaxis(image, axis, 0)
        view[: part.start] = view[part.start]
        view[part.stop :] = view[part.stop - 1]
