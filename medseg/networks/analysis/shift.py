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


def window_needed(
    network: SegmentationNetwork, radius: Sequence[int | None]
) -> tuple[int, ...] | None:
    """A window whose central two strides see no border; None where there is none.

    Args:
        network: For its strides.
        radius: Of the theoretical receptive field; None where that is endless.
    """
    known = [r for r in radius if r is not None]
    if len(known) < len(radius):
        return None
    return tuple(2 * r + 2 * p for r, p in zip(known, network.divisor, strict=True))


def far_from_borders(
    network: SegmentationNetwork,
    radius: Sequence[int | None],
    flops_per_voxel: float,
) -> tuple[int, ...] | None:
    """The window of `window_needed`; None also where it costs too much.

    Args:
        network: For its strides.
        radius: Of the theoretical receptive field; None where that is endless.
        flops_per_voxel: Of a forward pass.
    """
    wide = window_needed(network, radius)
    if wide is None or prod(wide) * flops_per_voxel >= SHIFT_FLOPS:
        return None
    return wide


@dataclass(frozen=True)
class ShiftFinding:
    """What a shift does to the answer, by theory and in use.

    Attributes:
        shift: Voxels along each axis.
        theory: With the statistics of normalizations held and no border within the
            receptive field; None where that cannot be measured.
        needed: The window that `theory` takes; None where every voxel sees the whole
            image.
        real: As two patches of a scene are answered, their inner halves compared,
            with borders and statistics of their own; None where the patch is too
            small.
    """

    shift: tuple[int, ...]
    theory: ShiftConsistency | None
    needed: tuple[int, ...] | None
    real: ShiftConsistency | None


def usual_shifts(
    network: SegmentationNetwork,
    size: tuple[int, ...],
    *,
    radius: tuple[int | None, ...],
    flops_per_voxel: float,
    seed: int = 0,
) -> tuple[ShiftFinding, ...]:
    """By one voxel and by one full stride.

    Args:
        network: In the state (trained or fresh) that is of interest.
        size: Spatial size of a patch.
        radius: Of the theoretical receptive field; None where that is endless.
        flops_per_voxel: Of a forward pass.
        seed: Of the noise.
    """
    needed = window_needed(network, radius)
    wide = far_from_borders(network, radius, flops_per_voxel)
    window, fixed = None, network
    if wide is not None:
        window = network.core.input_size(wide)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, network.in_channels, *window), generator=generator)
        device = next(network.parameters()).device
        fixed = with_fixed_statistics(network, noise.to(device))
    found = []
    for shift in ((1,) * len(size), network.divisor):
        theory = None
        if window is not None:
            margin = [r or 0 for r in radius]
            theory = shift_consistency(
                fixed, window, shift=shift, margin=margin, seed=seed
            )
        real = None
        if all(2 * s <= n for s, n in zip(shift, size, strict=True)):
            inner = [(n - s) // 4 for n, s in zip(size, shift, strict=True)]
            real = shift_consistency(
                network, size, shift=shift, margin=inner, seed=seed
            )
        found.append(ShiftFinding(shift, theory, needed, real))
    return tuple(found)


def _window(x: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    for axis, (first, count) in enumerate(zip(start, size, strict=True), start=2):
        x = x.narrow(axis, first, count)
    return x
