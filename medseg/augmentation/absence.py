"""Channels taken away, so that a network learns to do without some of them."""

import torch
from torch import Tensor

from medseg.augmentation.draw import send


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
