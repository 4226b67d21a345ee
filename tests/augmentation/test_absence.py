import torch

from medseg.augmentation.batch import augment_batch, drop_channels
from medseg.augmentation.settings import AugmentationSettings


def dropped(probability, *, num=400, part_of=None, seed=0):
    images = torch.ones((num, 3, 2, 2))
    generator = torch.Generator().manual_seed(seed)
    drop_channels(images, probability, generator=generator, part_of=part_of)
    return images


def test_whole_channels_go_as_often_as_asked():
    images = dropped(0.25)
    present = images.mean(dim=(2, 3))
    assert set(present.unique().tolist()) == {0.0, 1.0}
    assert 0.2 < 1 - present.mean() < 0.3


def test_one_channel_always_stays():
    assert (dropped(1.0).mean(dim=(2, 3)).sum(dim=1) == 1).all()


def test_a_part_of_a_batch_changes_as_it_would_in_it():
    whole = dropped(0.5, num=12)
    part = dropped(0.5, num=4, part_of=(8, 12))
    assert torch.equal(part, whole[8:])


def test_it_is_part_of_augmentation_and_off_by_default():
    images = torch.rand((6, 2, 8, 8)) + 1
    labels = torch.zeros((6, 8, 8), dtype=torch.uint8)
    still = {
        "flip_probability": 0.0,
        "rotation_probability": 0.0,
        "scaling_probability": 0.0,
    }

    def absent(settings):
        generator = torch.Generator().manual_seed(3)
        moved, _ = augment_batch(
            images, labels, settings, generator=generator, patch_size=(8, 8)
        )
        return int((moved == 0).all(dim=(2, 3)).sum())

    assert absent(AugmentationSettings(**still)) == 0
    assert absent(AugmentationSettings(**still, channel_dropout=1.0)) == 6
