"""Every augmentation runs on a GPU without waiting for it."""

from typing import Any

import pytest
import torch
from ceilings import AUGMENTATION_LAUNCHES
from fake_gpu import FakeGPU

from medseg.augmentation.batch import augment_batch
from medseg.augmentation.settings import AugmentationSettings
from medseg.instances.object_colouring import levels_of

CHANCES = sorted(
    name
    for name in AugmentationSettings.model_fields
    if name.endswith("_probability") or name == "channel_dropout"
)
NONE = dict.fromkeys(CHANCES, 0.0)


def rehearse(gpu: FakeGPU, *, dims: int, **settings: Any) -> None:
    size = (16, 16, 16)[:dims]
    part_of = settings.pop("part_of", None)
    with gpu:
        images = torch.randn(3, 2, *size, device="cuda")
        labels = torch.zeros(3, *size, dtype=torch.uint8, device="cuda")
        with gpu.seen.during("augmentation"):
            augment_batch(
                images,
                labels,
                AugmentationSettings(**(NONE | settings)),
                generator=torch.Generator().manual_seed(0),
                patch_size=size,
                spacing=(1.0,) * dims,
                part_of=part_of,
            )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("chance", CHANCES)
def test_one_at_a_time(gpu: FakeGPU, chance: str, dims: int) -> None:
    rehearse(gpu, dims=dims, **{chance: 1.0})
    assert gpu.seen.parts["augmentation"].num_launches
    assert gpu.seen.waits("augmentation") == []


@pytest.mark.parametrize("keep_zeros", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_all_at_once(gpu: FakeGPU, dims: int, keep_zeros: bool) -> None:
    rehearse(gpu, dims=dims, keep_zeros=keep_zeros, **dict.fromkeys(CHANCES, 1.0))
    assert gpu.seen.waits("augmentation") == []
    part = gpu.seen.parts["augmentation"]
    assert part.num_launches <= AUGMENTATION_LAUNCHES, part.describe()


@pytest.mark.parametrize("first", [0, 3])
def test_of_a_share_of_a_batch(gpu: FakeGPU, first: int) -> None:
    everything = dict.fromkeys(CHANCES, 0.6)
    rehearse(gpu, dims=3, part_of=(first, 6), **everything)
    assert gpu.seen.waits("augmentation") == []


@pytest.mark.parametrize("target", ["depth", "border"])
def test_of_single_objects(gpu: FakeGPU, target: str) -> None:
    with gpu:
        painted = torch.zeros(2, 16, 16, 16, dtype=torch.uint8, device="cuda")
        with gpu.seen.during("levels"):
            levels = levels_of(painted, target, spacing=(1.0, 1.0, 1.0))
    assert levels.device == painted.device
    assert gpu.seen.waits("levels") == []
