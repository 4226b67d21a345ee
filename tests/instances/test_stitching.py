"""Tile by tile is the same as at once: no doubles, nothing lost at a tile's side."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from medseg.instances.decoding import DecodingSettings, Depths, decode
from medseg.instances.stitching import SeedBook, decode_by_tiles
from medseg.instances.tiles import TileGrid


def random_blobs(seed: int, shape: tuple[int, ...]) -> Depths:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    scaled = np.clip(128 + noise / noise.std() * 90, 0, 255).astype(np.uint8)
    return Depths(scaled, scaled)


def are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two label images differ in numbers alone."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(7, 40), st.sampled_from([0, 20]))
def test_stitched_is_the_whole_up_to_numbers(seed, size, smallest):
    chosen = DecodingSettings(foreground=0.62, seed=0.75, min_voxels=smallest)
    depths = random_blobs(seed, (61, 47))
    whole = decode(depths, chosen)
    assert whole.max() > 1
    stitched = decode_by_tiles(depths, chosen, size=size, halo=61)
    assert are_same(stitched, whole)
    assert set(np.unique(stitched)) == set(range(whole.max() + 1))


@settings(deadline=None, max_examples=10)
@example(2879)  # equally deep voxels of two seeds
@given(st.integers(0, 10_000))
def test_a_halo_as_wide_as_the_foreground_is_enough(seed):
    chosen = DecodingSettings(foreground=0.9, seed=0.95)
    depths = random_blobs(seed, (90, 90))
    assert are_same(
        decode_by_tiles(depths, chosen, size=23, halo=40), decode(depths, chosen)
    )


def test_blobs_in_three_dimensions():
    chosen = DecodingSettings(foreground=0.62, seed=0.75)
    depths = random_blobs(1, (20, 25, 18))
    stitched = decode_by_tiles(depths, chosen, size=9, halo=25)
    assert are_same(stitched, decode(depths, chosen))


@pytest.mark.parametrize("halo", [0, 2, 5])
def test_a_long_object_has_one_number_however_small_tiles_are(halo):
    inside = np.zeros((40, 40), np.uint8)
    inside[3:6, :] = inside[:, 20:23] = 255  # a cross through all tiles
    found = decode_by_tiles(
        Depths(inside, inside), DecodingSettings(), size=10, halo=halo
    )
    assert np.array_equal(found > 0, inside > 0)
    assert found.max() == 1


def test_seeds_that_meet_in_a_later_tile_are_one():
    book = SeedBook()
    first = book.add(np.array([[1, 0, 2]], np.uint32), 2)
    second = book.add(np.array([[1, 1, 1]], np.uint32), 1)
    book.join(first, second)
    assert book.numbers().tolist() == [0, 1, 1, 1]


def test_cores_cover_an_image_once():
    seen = np.zeros((17, 9), int)
    grid = TileGrid((17, 9), 5, 3)
    for tile in grid:
        seen[tile.core] += 1
        assert (
            np.zeros(seen.shape)[tile.outer][tile.inner].shape == seen[tile.core].shape
        )
    assert (seen == 1).all()
    assert len(list(grid)) == len(grid)
