"""Whole batches: shapes, exactness of labels, repeatability."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.augmentation import AugmentationSettings, augment_batch

CHANGES = (
    "flip",
    "rotation",
    "scaling",
    "elastic",
    "noise",
    "blur",
    "low_resolution",
    "brightness",
    "contrast",
    "gamma",
    "inverted_gamma",
)


def only(*changes: str, **values: object) -> AugmentationSettings:
    """Settings under which the named changes always happen, and no other."""
    chances = {f"{name}_probability": float(name in changes) for name in CHANGES}
    return AugmentationSettings(**chances, **values)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(*spatial: int, num: int = 4, channels: int = 2) -> tuple:
    images = torch.randn((num, channels, *spatial), generator=seeded(1))
    labels = torch.randint(0, 4, (num, *spatial), generator=seeded(2))
    labels[labels == 3] = 255
    return images, labels.to(torch.uint8)


def augment(images, labels, settings, seed=0, size=None, **more):
    size = size or images.shape[2:]
    return augment_batch(
        images, labels, settings, generator=seeded(seed), patch_size=size, **more
    )


@pytest.mark.parametrize("spatial", [(12, 10, 8), (12, 10)])
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_keeps_shapes_and_label_values(change, spatial):
    images, labels = batch(*spatial)
    moved, moved_labels = augment(images, labels, only(change))
    assert moved.shape == images.shape
    assert moved_labels.shape == labels.shape
    assert moved.dtype == torch.float32
    assert moved_labels.dtype == torch.uint8
    assert not torch.equal(moved, images)
    assert set(moved_labels.unique().tolist()) <= {0, 1, 2, 255}
    assert torch.isfinite(moved).all()


@pytest.mark.parametrize("spatial", [(12, 10, 8), (12, 10)])
def test_nothing_drawn_changes_nothing(spatial):
    images, labels = batch(*spatial)
    moved, moved_labels = augment(images, labels, only())
    assert torch.equal(moved, images)
    assert torch.equal(moved_labels, labels)


def test_input_is_left_alone():
    images, labels = batch(12, 10, 8)
    kept, kept_labels = images.clone(), labels.clone()
    augment(images, labels, only(*CHANGES))
    assert torch.equal(images, kept)
    assert torch.equal(labels, kept_labels)


def test_disabled_still_cuts_to_the_patch_size():
    images, labels = batch(12, 10, 8)
    off = AugmentationSettings(enabled=False)
    moved, moved_labels = augment(images, labels, off, size=(6, 6, 8))
    assert torch.equal(moved, images[:, :, 3:9, 2:8])
    assert torch.equal(moved_labels, labels[:, 3:9, 2:8])


def test_flips_only_along_allowed_axes():
    images, labels = batch(5, 4, 3)
    moved, moved_labels = augment(images, labels, only("flip", flip_axes=(1,)))
    assert torch.equal(moved, images.flip(3))
    assert torch.equal(moved_labels, labels.flip(2))


def test_same_generator_gives_the_same_batch():
    images, labels = batch(12, 10, 8)
    busy = AugmentationSettings(elastic_probability=0.5)
    first, second = (augment(images, labels, busy, seed=5) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], augment(images, labels, busy, seed=6)[0])


def test_generator_state_continues_a_run():
    images, labels = batch(12, 10, 8)
    generator = seeded(3)
    size = (12, 10, 8)
    settings_ = AugmentationSettings()
    augment_batch(images, labels, settings_, generator=generator, patch_size=size)
    state = generator.get_state()
    expected = augment_batch(
        images, labels, settings_, generator=generator, patch_size=size
    )
    resumed = torch.Generator()
    resumed.set_state(state)
    got = augment_batch(images, labels, settings_, generator=resumed, patch_size=size)
    assert torch.equal(got[0], expected[0])


def test_patches_of_a_batch_differ():
    images, labels = batch(12, 10, 8, num=2)
    images[1], labels[1] = images[0], labels[0]
    moved, _ = augment(images, labels, only("rotation"))
    assert not torch.equal(moved[0], moved[1])


def test_turned_image_and_label_stay_together():
    labels = torch.zeros((4, 24, 24, 24), dtype=torch.uint8)
    labels[:, 6:16, 8:18, 7:12] = 1
    moved, moved_labels = augment(
        labels[:, None].float(), labels, only("flip", "rotation", "scaling", "elastic")
    )
    far = (moved[:, 0] - 0.5).abs() > 0.45
    assert far.sum() > 0.8 * far.numel()
    assert torch.equal((moved[:, 0] > 0.5)[far], (moved_labels == 1)[far])


def test_larger_input_leaves_no_empty_corners():
    images, labels = torch.ones((4, 1, 40, 40)), torch.ones((4, 40, 40))
    turned = only("rotation", rotation_degrees=180)
    moved, moved_labels = augment(images, labels.to(torch.uint8), turned, size=(20, 20))
    assert torch.allclose(moved, torch.ones(()))
    assert moved_labels.min() == 1


def test_beyond_the_patch_is_zero_and_background():
    images, labels = torch.ones((4, 1, 20, 20)), torch.ones((4, 20, 20))
    shrunk = only("scaling", scaling=(0.5, 0.5))
    moved, moved_labels = augment(images, labels.to(torch.uint8), shrunk)
    assert moved_labels.sum() == 4 * 10 * 10
    assert moved[:, 0, 5:15, 5:15].min() == 1
    assert moved[:, 0, :4].max() == 0


def test_kept_zeros_stay_zero():
    images, labels = batch(12, 10, 8)
    images[:, :, :4] = 0
    changes = ("noise", "blur", "low_resolution", "brightness", "contrast", "gamma")
    moved, _ = augment(images, labels, only(*changes, keep_zeros=True))
    assert (moved[:, :, :4] == 0).all()
    assert (moved[:, :, 4:] != 0).any()


@given(
    spatial=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    size=st.integers(1, 9),
    seed=st.integers(0, 100),
)
@settings(max_examples=40)
def test_any_shape_goes_through(spatial, size, seed):
    images, labels = batch(*spatial)
    target = (size,) * len(spatial)
    moved, moved_labels = augment(images, labels, only(*CHANGES), seed, target)
    assert moved.shape == (4, 2, *target)
    assert moved_labels.shape == (4, *target)
    assert torch.isfinite(moved).all()


def test_labels_of_another_shape_are_refused():
    images, labels = batch(12, 10, 8)
    with pytest.raises(ValueError, match=r"labels have shape \(4, 12, 10\), expected"):
        augment(images, labels[..., 0], only())


def test_images_of_another_dimension_are_refused():
    images, labels = batch(12, 10)
    with pytest.raises(
        ValueError, match=r"images have shape .* patch size \(4, 4, 4\)"
    ):
        augment(images, labels, only(), size=(4, 4, 4))


def test_axis_that_is_not_there_is_refused():
    images, labels = batch(12, 10)
    with pytest.raises(ValueError, match="flip_axes holds 2, patches have 2 axes"):
        augment(images, labels, only("flip", flip_axes=(0, 2)))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.gpu
def test_gpu_matches_cpu_but_for_noise():
    images, labels = batch(24, 20, 16)
    settings_ = AugmentationSettings(noise_probability=0, elastic_probability=0.5)
    expected, expected_labels = augment(images, labels, settings_)
    torch.cuda.set_sync_debug_mode("error")
    try:
        images, labels = images.pin_memory(), labels.pin_memory()
        images = images.to("cuda", non_blocking=True)
        labels = labels.to("cuda", non_blocking=True)
        moved, moved_labels = augment(images, labels, settings_)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(moved.cpu(), expected, atol=1e-4)
    assert (moved_labels.cpu() != expected_labels).float().mean() < 1e-3
