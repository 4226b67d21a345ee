"""Tile by tile is the same as at once: no doubles, nothing lost at a tile's side."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from medseg.instances.decoding import SeedBook, SeedCandidates, decode
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import ObjectMaps
from medseg.instances.stitching import TileGrid, decode_tiles


def decode_by_tiles(
    depths: ObjectMaps, chosen: DecodingSettings, *, size: int, halo: int
) -> np.ndarray:
    """What `decode` returns, computed tile by tile in memory; numbers may differ."""
    grid = TileGrid(depths.depth.shape, size, halo)
    seeds, labels = (np.zeros(grid.shape, dtype=np.uint32) for _ in range(2))
    final = decode_tiles(depths.foreground, depths.depth, seeds, labels, grid, chosen)
    return np.asarray(final[labels])


def random_blobs(seed: int, shape: tuple[int, ...]) -> ObjectMaps:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    scaled = np.clip(128 + noise / noise.std() * 90, 0, 255).astype(np.uint8)
    return ObjectMaps(scaled, scaled)


def are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two label images differ in numbers alone."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.integers(7, 40),
    st.sampled_from([0, 20]),
    st.sampled_from([1.0, 0.7]),
)
def test_stitched_is_the_whole_up_to_numbers(seed, size, smallest, alone):
    chosen = DecodingSettings(
        foreground=0.62, seed=0.75, alone=alone, min_voxels=smallest
    )
    depths = random_blobs(seed, (61, 47))
    whole = decode(depths, chosen)
    assert whole.max() > 1
    stitched = decode_by_tiles(depths, chosen, size=size, halo=61)
    assert are_same(stitched, whole)
    assert set(np.unique(stitched)) == set(range(whole.max() + 1))


@settings(max_examples=10)
@example(2879)  # equally deep voxels of two seeds
@given(st.integers(0, 10_000))
def test_a_halo_as_wide_as_the_foreground_is_enough(seed):
    chosen = DecodingSettings(foreground=0.9, seed=0.95)
    depths = random_blobs(seed, (90, 90))
    assert are_same(
        decode_by_tiles(depths, chosen, size=23, halo=40), decode(depths, chosen)
    )


@pytest.mark.parametrize("alone", [1.0, 0.66])
def test_blobs_in_three_dimensions(alone):
    chosen = DecodingSettings(foreground=0.62, seed=0.75, alone=alone)
    depths = random_blobs(1, (20, 25, 18))
    stitched = decode_by_tiles(depths, chosen, size=9, halo=25)
    assert are_same(stitched, decode(depths, chosen))


@pytest.mark.parametrize("halo", [0, 2, 5])
def test_a_long_object_has_one_number_however_small_tiles_are(halo):
    inside = np.zeros((40, 40), np.uint8)
    inside[3:6, :] = inside[:, 20:23] = 255  # a cross through all tiles
    found = decode_by_tiles(
        ObjectMaps(inside, inside), DecodingSettings(), size=10, halo=halo
    )
    assert np.array_equal(found > 0, inside > 0)
    assert found.max() == 1


def candidates(
    labels: list[int], is_part: list[bool], taken: list[bool]
) -> SeedCandidates:
    """A row of candidates, all of depth 180."""
    peaks = np.full(len(is_part), 180, np.uint8)
    return SeedCandidates(np.array([labels]), np.array(is_part), peaks, np.array(taken))


def test_seeds_that_meet_in_a_later_tile_are_one():
    book = SeedBook(DecodingSettings())
    first = book.add(candidates([1, 0, 2], [False] * 3, [False] * 3))
    second = book.add(candidates([1, 1, 1], [False] * 2, [False] * 2))
    book.join(first, second)
    assert book.numbers().tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(("alone", "expected"), [(0.5, 1), (0.9, 0), (1.0, 0)])
def test_a_part_without_a_seed_is_an_object_where_it_is_deep(alone, expected):
    book = SeedBook(DecodingSettings(alone=alone))
    book.add(candidates([1, 1], [False, True], [False, False]))
    assert book.numbers().tolist() == [0, expected]


@pytest.mark.parametrize("part_first", [True, False])
def test_a_part_with_a_seed_in_another_tile_is_no_object_of_its_own(part_first):
    part = candidates([0, 1], [False, True], [False, False])
    seed = candidates([2, 1], [False, False, True], [False, False, True])
    book = SeedBook(DecodingSettings(alone=0.5))
    first, second = [
        book.add(c) for c in ((part, seed) if part_first else (seed, part))
    ]
    book.join(first, second)
    assert np.count_nonzero(book.numbers()) == 1


def test_what_lies_in_a_filled_hole_of_a_cell_is_no_object():
    depth = np.zeros((30, 30), np.uint8)
    depth[2:28, 2:28] = 240
    depth[12:17, 12:17] = 0
    depth[13:16, 13:16] = 170
    depths = ObjectMaps(np.where(depth, 255, 0).astype(np.uint8), depth)
    chosen = DecodingSettings(seed=0.8, alone=0.5, min_voxels=20)
    expected = np.zeros((30, 30), np.uint32)
    expected[2:28, 2:28] = 1
    assert np.array_equal(decode(depths, chosen), expected)
    assert np.array_equal(decode_by_tiles(depths, chosen, size=14, halo=9), expected)


def test_a_small_object_that_is_nowhere_as_deep_as_seeds_is_found():
    depth = np.zeros((12, 20), np.uint8)
    depth[2:10, 2:10] = 240
    depth[4:7, 14:17] = 170
    depths = ObjectMaps(np.where(depth, 255, 0).astype(np.uint8), depth)
    assert decode(depths, DecodingSettings(seed=0.8)).max() == 1
    found = decode(depths, DecodingSettings(seed=0.8, alone=0.6))
    assert np.array_equal(found > 0, depth > 0)
    assert found.max() == 2
    assert decode(depths, DecodingSettings(seed=0.8, alone=0.7)).max() == 1


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
