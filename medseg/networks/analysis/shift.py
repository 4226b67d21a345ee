"""How much a network's answer changes when the image moves.

A network of convolutions shifts with its input by multiples of its strides; smaller
shifts meet other phases (Zhang, arXiv:1904.11486), and global pooling looks at the
whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from medseg.networks.analysis.fixed_statistics import with_fixed_statistics
from medseg.networks.network import SegmentationNetwork

SHIFT_FLOPS = 1e11
"""Operations that a window away from borders may cost; a second or two on two cores."""


@dataclass(frozen=True)
class ShiftConsistency:
    """Answers to two views of one scene, compared where the views overlap.

    Attributes:
        shift: Voxels along each axis between the views.
        change: Root mean square difference of the logits over their standard
            deviation; 0 means that the logits move with the image.
        agreement: Share of voxels that keep their most likely class.
    """

    shift: tuple[int, ...]
    change: float
    agreement: float


def shift_consistency(
    network: SegmentationNetwork,
    size: Sequence[int],
    *,
    shift: Sequence[int],
    margin: Sequence[int],
    scene: Tensor | None = None,
    seed: int = 0,
) -> ShiftConsistency:
    """Compares the logits of two windows of a scene, away from their borders.

    Args:
        network: In the state (trained or fresh) that is of interest.
        size: Spatial size of each window.
        shift: Voxels by which the second window is moved along each axis.
        margin: Voxels left out at each side, such as the receptive field's radius.
        scene: Image of shape (1, C, *(size + shift)); standard normal noise if None.
        seed: Of the noise.

    Raises:
        ValueError: Margins and shift leave nothing to compare.
    """
    kept = [n - s - 2 * m for n, s, m in zip(size, shift, margin, strict=True)]
    if min(kept) < 1:
        raise ValueError(f"windows of {tuple(size)} leave {tuple(kept)} voxels")
    if scene is None:
        whole = [n + s for n, s in zip(size, shift, strict=True)]
        generator = torch.Generator().manual_seed(seed)
        scene = torch.randn((1, network.in_channels, *whole), generator=generator)
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    with torch.no_grad():
        still = network(_window(scene, (0,) * len(size), size).to(device))
        moved = network(_window(scene, shift, size).to(device))
    network.train(training)
    still = _window(
        still, [m + s for m, s in zip(margin, shift, strict=True)], kept
    ).float()
    moved = _window(moved, margin, kept).float()
    deviation = still.std().clamp_min(torch.finfo(torch.float32).tiny)
    return ShiftConsistency(
        shift=tuple(shift),
        change=float((still - moved).square().mean().sqrt() / deviation),
        agreement=float((still.argmax(1) == moved.argmax(1)).float().mean()),
    )


def far_from_borders(
    network: SegmentationNetwork,
    radius: Sequence[int | None],
    flops_per_voxel: float,
) -> tuple[int, ...] | None:
    """A window whose central two strides see no border; None where it costs too much.

    Args:
        network: For its strides.
        radius: Of the theoretical receptive field; None where that is endless.
        flops_per_voxel: Of a forward pass.
    """
    known = [r for r in radius if r is not None]
    if len(known) < len(radius):
        return None
    wide = [2 * r + 2 * p for r, p in zip(known, network.divisor, strict=True)]
    return tuple(wide) if prod(wide) * flops_per_voxel < SHIFT_FLOPS else None


def usual_shifts(
    network: SegmentationNetwork,
    size: tuple[int, ...],
    *,
    radius: tuple[int | None, ...],
    flops_per_voxel: float,
    seed: int = 0,
) -> tuple[ShiftConsistency, ...]:
    """By one voxel and by one full stride, away from borders where that is cheap.

    The window is as large as the theoretical radius asks for; where that costs too
    much, a quarter of the patch is left out at each side. Normalizations keep the
    statistics of one image, which the two views would otherwise differ in.

    Args:
        network: In the state (trained or fresh) that is of interest.
        size: Spatial size of a patch.
        radius: Of the theoretical receptive field; None where that is endless.
        flops_per_voxel: Of a forward pass.
        seed: Of the noise.
    """
    period = network.divisor
    wide = far_from_borders(network, radius, flops_per_voxel)
    window = network.core.input_size(wide or size)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, network.in_channels, *window), generator=generator)
    device = next(network.parameters()).device
    fixed = with_fixed_statistics(network, noise.to(device))
    found = []
    for wanted in ((1,) * len(size), period):
        shift = [min(s, n // 4) for s, n in zip(wanted, window, strict=True)]
        margin = [(n - s) // 4 for n, s in zip(window, shift, strict=True)]
        if wide is not None:
            margin = [r or 0 for r in radius]
        found.append(
            shift_consistency(fixed, window, shift=shift, margin=margin, seed=seed)
        )
    return tuple(found)


def _window(x: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    for axis, (first, count) in enumerate(zip(start, size, strict=True), start=2):
        x = x.narrow(axis, first, count)
    return x
