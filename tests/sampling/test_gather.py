import numpy as np
import pytest
import torch
from sampling_phantoms import FakeCase, phantom_cases

from medseg.sampling import Draw, PatchSampler, SamplingSettings, gather


def counted_case() -> FakeCase:
    label = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6) % 3
    return FakeCase("a", label, num_classes=3)


def draw(corner, size) -> Draw:
    return Draw(case_index=0, case_id="a", corner=corner, size=size)


def test_patch_inside_is_copied() -> None:
    case = counted_case()
    batch = gather([case], [draw((1, 2, 3), (2, 3, 2))], spatial_dims=3)
    np.testing.assert_array_equal(batch.images[0], case.image[:, 1:3, 2:5, 3:5])
    np.testing.assert_array_equal(batch.labels[0], case.label[1:3, 2:5, 3:5])
    assert batch.images.dtype == torch.float32
    assert batch.labels.dtype == torch.uint8
    assert batch.case_ids == ("a",)


def test_outside_is_zero() -> None:
    case = counted_case()
    batch = gather([case], [draw((-1, -2, 0), (6, 8, 6))], spatial_dims=3)
    np.testing.assert_array_equal(batch.images[0, :, 1:5, 2:7], case.image)
    assert batch.images[0, :, 0].abs().sum() == 0
    assert batch.labels[0, 5].sum() == batch.labels[0, :, 7].sum() == 0


def test_edge_is_repeated_and_not_scored() -> None:
    case = counted_case()
    batch = gather(
        [case], [draw((-1, -2, 0), (6, 8, 6))], spatial_dims=3, padding="edge"
    )
    pads = [(0, 0), (1, 1), (2, 1), (0, 0)]
    expected = np.pad(case.image, pads, mode="edge")
    np.testing.assert_array_equal(batch.images[0], expected)
    label = np.pad(case.label, pads[1:], constant_values=255)
    np.testing.assert_array_equal(batch.labels[0], label)


def test_slices_drop_the_last_axis() -> None:
    case = counted_case()
    batch = gather([case], [draw((0, 0, 4), (4, 5, 1))], spatial_dims=2)
    assert batch.images.shape == (1, 1, 4, 5)
    np.testing.assert_array_equal(batch.labels[0], case.label[:, :, 4])


@pytest.mark.parametrize("patch", [(8, 8, 8), (50, 10, 30), (12, 60)])
def test_batches_have_the_patch_size(patch) -> None:
    cases = phantom_cases()
    sampler = PatchSampler(cases, patch_size=patch, settings=SamplingSettings(), seed=1)
    batch = gather(cases, sampler.draw(5), spatial_dims=len(patch))
    assert batch.images.shape == (5, 1, *patch)
    assert batch.labels.shape == (5, *patch)


def test_stored_half_precision_becomes_single(tiny_store) -> None:
    cases = [tiny_store.case(name) for name in tiny_store.case_ids]
    sampler = PatchSampler(
        cases, patch_size=(16, 16, 16), settings=SamplingSettings(), seed=0
    )
    draws = sampler.draw(4)
    batch = gather(cases, draws, spatial_dims=3)
    first = draws[0]
    box = tuple(slice(c, c + s) for c, s in zip(first.corner, first.size, strict=True))
    expected = cases[first.case_index].read_image(box)
    np.testing.assert_array_equal(batch.images[0], expected)
