"""Painted objects: neighbours differ, and levels fit wherever they are moved."""

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import affine_transform

from medseg.instances.painting import levels_of, neighbours, paint
from medseg.instances.targets import Target, encode, renumber
from medseg.labels import IGNORE_INDEX

KINDS: tuple[Target, ...] = ("border", "depth")


def packed_disks(radius: int = 6, count: int = 5) -> np.ndarray:
    """Disks side by side, numbered from 1, shape (I, J, 1)."""
    step = 2 * radius + 1
    i, j = np.indices((count * step, count * step))
    away = np.hypot(i % step - radius, j % step - radius)
    numbers = i // step * count + j // step + 1
    return np.where(away <= radius, numbers, 0).astype(np.uint32)[..., None]


def nothing(numbers: np.ndarray) -> np.ndarray:
    return np.zeros(numbers.shape, dtype=bool)


def test_neighbours_have_different_colours():
    numbers = packed_disks()
    painted = paint(numbers, ignored=nothing(numbers), flat=True)
    colour = {int(n): int(painted[numbers == n][0]) for n in range(1, 26)}
    pairs = neighbours(numbers, flat=True)
    assert (1, 2) in pairs
    assert (1, 3) not in pairs
    assert all(colour[first] != colour[second] for first, second in pairs)
    assert painted.max() < 6


def test_slices_of_flat_objects_are_strangers():
    numbers = np.zeros((4, 4, 2), dtype=np.uint32)
    numbers[..., 0], numbers[..., 1] = 1, 2
    assert neighbours(numbers, flat=True) == []
    assert neighbours(numbers) == [(1, 2)]


@given(arrays(np.uint32, (9, 9, 1), elements=st.integers(0, 3)), st.sampled_from(KINDS))
def test_levels_of_what_was_not_moved_are_those_of_the_numbers(values, kind):
    parts = cc3d.connected_components(values[..., 0], connectivity=4)[..., None]
    numbers = renumber(parts, outside=parts == 0)
    painted = paint(numbers, ignored=nothing(numbers), flat=True)
    levels = levels_of(painted[None, ..., 0], kind)[0]
    assert np.array_equal(levels, encode(numbers, kind, flat=True)[..., 0])


@pytest.mark.parametrize("scale", [0.6, 0.8, 1.4])
def test_insides_stay_apart_when_patches_are_turned_and_scaled(scale):
    numbers = packed_disks()
    painted = paint(numbers, ignored=nothing(numbers), flat=True)[..., 0]
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) / scale
    center = np.array(painted.shape) / 2
    how = {"matrix": turn, "offset": center - turn @ center, "order": 0}
    levels = levels_of(affine_transform(painted, **how)[None], "border")[0]
    insides = cc3d.connected_components((levels == 2).astype(np.uint8), connectivity=4)
    moved = affine_transform(numbers[..., 0], **how)
    for part in range(1, insides.max() + 1):
        assert len(np.unique(moved[insides == part])) == 1


def test_objects_go_on_behind_what_is_ignored():
    numbers = np.ones((6, 6, 1), dtype=np.uint32)
    ignored = nothing(numbers)
    ignored[4:] = True
    painted = paint(numbers, ignored=ignored, flat=True)
    levels = levels_of(painted[None, ..., 0], "border")[0]
    assert (levels[:4] == 2).all()
    assert (levels[4:] == IGNORE_INDEX).all()


def test_nothing_but_ignored_voxels():
    painted = np.full((1, 4, 4), IGNORE_INDEX, dtype=np.uint8)
    assert (levels_of(painted, "border") == IGNORE_INDEX).all()
