"""Levels of objects: known by hand for small ones, undone by the decoder."""

import numpy as np
import pytest

from medseg.instances.decoding import decode
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import ObjectMaps
from medseg.instances.targets import LEVELS, Target, encode, renumber

KINDS: tuple[Target, ...] = ("border", "depth")


def two_touching() -> np.ndarray:
    labels = np.zeros((12, 7, 1), dtype=np.uint32)
    labels[1:6, 1:6] = 1
    labels[6:11, 1:6] = 2
    return labels


def test_a_rim_is_a_voxel_thick_and_parts_neighbours():
    levels = encode(two_touching(), "border", flat=True)[..., 0]
    assert levels[1:11, 3].tolist() == [1, 2, 2, 2, 1, 1, 2, 2, 2, 1]


def test_a_core_is_deeper_than_half_of_the_depth():
    levels = encode(two_touching(), "depth", flat=True)[..., 0]
    assert levels[1:6, 3].tolist() == [1, 3, 3, 3, 1] or levels[3, 3] == 3
    assert levels[1, 3] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_has_an_innermost_voxel(kind):
    labels = np.zeros((5, 5, 1), dtype=np.uint32)
    labels[2, 2] = 7
    assert encode(labels, kind, flat=True)[2, 2, 0] == len(LEVELS[kind])


def test_the_border_of_an_image_is_no_rim():
    labels = np.ones((4, 4, 1), dtype=np.uint32)
    assert (encode(labels, "border", flat=True) == 2).all()


def test_flat_objects_know_nothing_of_other_slices():
    labels = np.zeros((5, 5, 3), dtype=np.uint32)
    labels[1:4, 1:4, 1] = 1
    assert encode(labels, "border", flat=True)[2, 2, 1] == 2
    assert encode(labels, "border")[2, 2, 1] == 2  # its deepest voxel


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flat", [True, False])
def test_decoding_undoes_encoding(kind, flat):
    labels = two_touching() if flat else np.repeat(two_touching(), 6, axis=2)
    levels = encode(labels, kind, flat=flat)
    shares = np.moveaxis(np.eye(len(LEVELS[kind]) + 1, dtype=np.float32)[levels], -1, 0)
    depths = ObjectMaps.of_probabilities(shares)
    assert np.array_equal(decode(depths, DecodingSettings(seed=0.8)), labels)


def test_any_values_become_numbers():
    values = np.array([9, 0, 300, 9, 255])
    outside = (values == 0) | (values == 255)
    assert renumber(values, outside=outside).tolist() == [1, 0, 2, 1, 0]
