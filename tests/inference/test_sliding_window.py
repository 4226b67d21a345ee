import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_volume import sliding_window_logits

from medseg.inference.averaging import flipped_average
from medseg.inference.tiling import gaussian_importance, window_starts, windows


@given(size=st.integers(1, 60), window=st.integers(1, 40), overlap=st.floats(0, 0.9))
def test_windows_cover_an_axis_and_overlap_enough(
    size: int, window: int, overlap: float
) -> None:
    starts = window_starts(size, window, overlap)
    assert starts[0] == 0
    if window >= size:
        assert starts == [0]
        return
    assert starts[-1] == size - window
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(0 < gap <= max(1, window * (1 - overlap)) + 1 for gap in gaps)


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(3, 14), min_size=2, max_size=3),
    width=st.integers(4, 9),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    batch=st.integers(1, 4),
)
def test_an_identity_model_returns_its_input(
    shape: list[int], width: int, overlap: float, batch: int
) -> None:
    image = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    result = sliding_window_logits(
        lambda x: x,
        image,
        window_size=[width] * len(shape),
        overlap=overlap,
        batch_size=batch,
    )
    assert torch.allclose(result, image, atol=1e-5)


def test_windows_of_two_axes_run_first_axis_outermost() -> None:
    corners = [tuple(s.start for s in box) for box in windows((4, 6), (4, 4), 0.5)]
    assert corners == [(0, 0), (0, 2)]


def test_importance_is_largest_at_the_centre_and_never_zero() -> None:
    importance = gaussian_importance((9, 9, 9))
    assert importance.max() == importance[4, 4, 4] == 1
    assert importance.min() >= 1e-4


def test_flips_make_any_network_symmetric() -> None:
    def leaning(x: torch.Tensor) -> torch.Tensor:
        return x * torch.arange(4.0)

    image = torch.ones(1, 1, 4, 4)
    averaged = flipped_average(leaning, axes=(0, 1))(image)
    assert torch.allclose(averaged, torch.full_like(averaged, 1.5))


@pytest.mark.parametrize(("axes", "looks"), [((), 1), ((1,), 2), ((0, 1), 4)])
def test_only_axes_that_training_mirrored_are_flipped(
    axes: tuple[int, ...], looks: int
) -> None:
    seen = []
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    flipped_average(lambda x: seen.append(x) or x, axes=axes)(image)
    assert len(seen) == looks
    assert (0 in axes) == any(torch.equal(one, image.flip(2)) for one in seen)


@pytest.mark.parametrize("size", [(5, 5), (8, 3)])
def test_small_images_are_padded_with_zeros(size: tuple[int, int]) -> None:
    seen = []

    def watch(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    sliding_window_logits(watch, torch.ones(1, 1, *size), window_size=(8, 8))
    assert seen[0].shape[2:] == (8, 8)
    assert seen[0].sum() == size[0] * size[1]
