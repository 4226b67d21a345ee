"""A part of a batch changes as it would within the whole."""

import pytest
import torch

from medseg.augmentation.batch import augment_batch
from medseg.augmentation.settings import AugmentationSettings

OFTEN = AugmentationSettings(
    rotation_probability=0.5,
    scaling_probability=0.5,
    elastic_probability=0.5,
    noise_probability=0.6,
    blur_probability=0.5,
    low_resolution_probability=0.5,
    brightness_probability=0.5,
    gamma_probability=0.5,
)


@pytest.mark.parametrize("size", [(12, 14), (10, 12, 8)])
@pytest.mark.parametrize("seed", range(4))
def test_parts_make_up_the_whole(size: tuple[int, ...], seed: int) -> None:
    images = torch.randn((5, 2, *size), generator=torch.Generator().manual_seed(9))
    labels = (images[:, 0] > 0).to(torch.uint8)

    def augment(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return augment_batch(
            images[first : first + count],
            labels[first : first + count],
            OFTEN,
            generator=torch.Generator().manual_seed(seed),
            patch_size=size,
            part_of=(first, 5),
        )

    whole = augment(0, 5)
    for n in (0, 1):
        parts = torch.cat([augment(0, 2)[n], augment(2, 3)[n]])
        assert torch.allclose(parts.float(), whole[n].float(), atol=1e-5)
