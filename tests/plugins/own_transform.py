"""A user's transform of batches, and one of single patches in MONAI's form."""

import torch
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor


def shade(
    images: Tensor, labels: Tensor, *, generator: torch.Generator, most: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Adds a constant to each image."""
    shape = (len(images), 1, *[1] * (images.ndim - 2))
    shift = most * (2 * torch.rand(shape, generator=generator) - 1)
    return images + shift.to(images.device), labels


class RandRolld(RandomizableTransform, MapTransform):
    """Rolls image and label along the first axis by as many voxels."""

    def __init__(self, keys: list[str], most: int = 2) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.most = most

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        by = self.R.randint(-self.most, self.most + 1)
        return {key: torch.roll(data[key], by, dims=1) for key in self.keys}
