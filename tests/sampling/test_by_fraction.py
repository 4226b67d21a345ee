import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_phantoms import FakeCase, box

from medseg.sampling import PatchSampler, SamplingSettings
from medseg.sampling.strategies import find_corners
from medseg.store.voxel_index import count_blocks


def held(label: np.ndarray, corner, size) -> int:
    cut = tuple(slice(max(c, 0), c + s) for c, s in zip(corner, size, strict=True))
    return int(((label[cut] > 0) & (label[cut] != 255)).sum())


@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(*[st.integers(3, 50)] * 3),
    patch=st.tuples(st.integers(16, 40), st.integers(16, 40), st.integers(1, 30)),
    share=st.floats(0.001, 0.5),
)
@settings(max_examples=80)
def test_kept_places_hold_what_was_promised(seed, shape, patch, share) -> None:
    rng = np.random.default_rng(seed)
    label = (rng.random(shape) < rng.uniform(0, 0.3)).astype(np.uint8)
    label[rng.random(shape) < 0.1] = 255
    least = share * float(np.prod(patch))
    corners = find_corners(count_blocks(label), shape, patch, least=least)
    amounts = [held(label, corner, patch) for corner in corners]
    if len(corners) and min(amounts) < least:
        assert max(amounts) > 0  # nothing in the case holds enough in whole blocks
    for corner in corners:
        assert all(
            0 <= c <= max(n - p, 0)
            for c, n, p in zip(corner, shape, patch, strict=True)
        )


def test_places_are_those_that_hold_enough() -> None:
    label = np.zeros((64, 64, 8), dtype=np.uint8)
    label[40:48, 40:48, 2:6] = 1
    corners = find_corners(count_blocks(label), label.shape, (32, 32, 8), least=256)
    expected = {(i, j, 0) for i in (16, 24, 32) for j in (16, 24, 32)}
    assert set(map(tuple, corners.tolist())) == expected


def test_what_cannot_be_reached_becomes_the_most_there_is() -> None:
    label = np.zeros((64, 64, 64), dtype=np.uint8)
    label[33, 33, 33] = 1
    corners = find_corners(count_blocks(label), label.shape, (32, 32, 32), least=500)
    assert len(corners)
    assert all(held(label, corner, (32, 32, 32)) == 1 for corner in corners)


def test_every_drawn_patch_holds_its_share() -> None:
    label = np.zeros((70, 66, 40), dtype=np.uint8)
    label[10:40, 20:44, 5:30] = 1
    case = FakeCase("a", label, num_classes=2)
    chosen = SamplingSettings(
        strategy="any_foreground", min_fraction=0.3, foreground_share=1
    )
    drawn = PatchSampler([case], patch_size=(32, 32, 16), settings=chosen, seed=0)
    draws = drawn.draw(200)
    assert all(held(label, d.corner, d.size) >= 0.3 * 32 * 32 * 16 for d in draws)
    assert len({draw.corner for draw in draws}) > 50


def test_patch_larger_than_the_case_is_moved_about() -> None:
    case = FakeCase("a", box((10, 10, 10), 1), num_classes=2)
    chosen = SamplingSettings(strategy="any_foreground", foreground_share=1)
    drawn = PatchSampler([case], patch_size=(16, 16, 16), settings=chosen, seed=0)
    corners = {draw.corner[0] for draw in drawn.draw(100)}
    assert corners == set(range(-6, 1))
