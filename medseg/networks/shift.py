"""How much a network's answer changes when the image moves.

A network of convolutions shifts with its input by multiples of its strides; smaller
shifts meet other phases (Zhang, arXiv:1904.11486), and global pooling looks at the
whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.networks.network import SegmentationNetwork


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


def _window(x: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    for axis, (first, count) in enumerate(zip(start, size, strict=True), start=2):
        x = x.narrow(axis, first, count)
    return x
