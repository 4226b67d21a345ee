"""Painted objects: neighbours differ, and levels fit wherever they are moved."""

import cc3d
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import affine_transform

from medseg.instances.object_colouring import (
    BEYOND,
    OUTSIDE,
    levels_of,
    neighbours,
    paint,
)
from medseg.instances.targets import LEVELS, Target, encode, renumber
from medseg.labels import IGNORE_INDEX

KINDS: tuple[Target, ...] = ("border", "depth")


def packed_disks(radius: int = 6, count: int = 5) -> np.ndarray:
    """Disks side by side, numbered from 1, shape (I, J, 1)."""
    step = 2 * radius + 1
    i, j = np.indices((count * step, count * step))
    away = np.hypot(i % step - radius, j % step - radius)
    numbers = i // step * count + j // step + 1
    return np.where(away <= radius, numbers, 0).astype(np.uint32)[..., None]


def painted(
    numbers: np.ndarray, kind: Target = "border", ignored: np.ndarray | None = None
) -> np.ndarray:
    """Of one slice, shape (I, J)."""
    if ignored is None:
        ignored = np.zeros(numbers.shape, dtype=bool)
    levels = encode(numbers, kind, flat=True)
    return paint(numbers, levels, kind, ignored=ignored, flat=True)[..., 0]


def levels(values: np.ndarray, kind: Target = "border") -> np.ndarray:
    return levels_of(torch.from_numpy(values[None]), kind)[0].numpy()


def test_neighbours_have_different_colours():
    numbers = packed_disks()
    colours = painted(numbers) >> 1
    colour = {n: int(colours[numbers[..., 0] == n][0]) for n in range(1, 26)}
    pairs = neighbours(numbers, flat=True)
    assert (1, 2) in pairs
    assert (1, 3) not in pairs
    assert all(colour[first] != colour[second] for first, second in pairs)
    assert max(colour.values()) < 6


def test_slices_of_flat_objects_are_strangers():
    numbers = np.zeros((4, 4, 2), dtype=np.uint32)
    numbers[..., 0], numbers[..., 1] = 1, 2
    assert neighbours(numbers, flat=True) == []
    assert neighbours(numbers) == [(1, 2)]


@given(arrays(np.uint32, (9, 9, 1), elements=st.integers(0, 3)), st.sampled_from(KINDS))
def test_levels_of_what_was_not_moved_are_those_of_the_numbers(values, kind):
    parts = cc3d.connected_components(values[..., 0], connectivity=4)[..., None]
    numbers = renumber(parts, outside=parts == 0)
    expected = encode(numbers, kind, flat=True)[..., 0]
    assert np.array_equal(levels(painted(numbers, kind), kind), expected)


@pytest.mark.parametrize("scale", [0.6, 0.8, 1.4])
@pytest.mark.parametrize("kind", KINDS)
def test_innermost_parts_stay_apart_when_patches_are_turned_and_scaled(kind, scale):
    numbers = packed_disks()
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) / scale
    center = np.array(numbers.shape[:2]) / 2
    how = {"matrix": turn, "offset": center - turn @ center, "order": 0}
    found = levels(affine_transform(painted(numbers, kind), **how), kind)
    innermost = (found == len(LEVELS[kind])).astype(np.uint8)
    parts = cc3d.connected_components(innermost, connectivity=4)
    moved = affine_transform(numbers[..., 0], **how)
    assert parts.max() > 4
    for part in range(1, parts.max() + 1):
        assert len(np.unique(moved[parts == part])) == 1


def test_cores_move_along_where_the_side_of_a_patch_cuts_objects():
    numbers = packed_disks()
    whole = levels(painted(numbers, "depth"), "depth")
    cut = levels(painted(numbers, "depth")[:33, 4:], "depth")
    assert np.array_equal(cut[:-1, 1:], whole[:32, 5:])


def test_objects_go_on_behind_what_is_ignored():
    numbers = np.ones((6, 6, 1), dtype=np.uint32)
    ignored = np.zeros(numbers.shape, dtype=bool)
    ignored[4:] = True
    found = levels(painted(numbers, ignored=ignored))
    assert (found[:4] == 2).all()
    assert (found[4:] == IGNORE_INDEX).all()


def test_objects_go_on_beyond_the_image_but_not_in_it():
    values = np.full((3, 7), 4, dtype=np.uint8)
    values[:, 0], values[:, -1] = BEYOND, OUTSIDE
    assert levels(values)[1].tolist() == [0, 2, 2, 2, 2, 1, 0]


def test_thick_slices_have_no_rim_between_them():
    values = np.full((1, 4, 4, 2), OUTSIDE, dtype=np.uint8)
    values[..., 0] = 2
    thick = levels_of(torch.from_numpy(values), "border", spacing=(1.0, 1.0, 5.0))
    assert (thick[..., 0] == 2).all()
    assert (levels_of(torch.from_numpy(values), "border")[..., 0] == 1).all()
