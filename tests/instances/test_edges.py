"""Outlines along pixel edges: filled by another's rule they give the pixels back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as Outline

from medseg.instances.edges import outlines_of, rings_of, signed_area


def filled(rings, shape):
    """Pixels whose centres lie inside an odd number of rings, by matplotlib."""
    centres = np.indices(shape).reshape(2, -1).T + 0.5
    odd = np.zeros(len(centres), bool)
    for ring in rings:
        odd ^= Outline(np.vstack([ring, ring[:1]]), closed=True).contains_points(
            centres
        )
    return odd.reshape(shape)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(deadline=None, max_examples=200)
def test_rings_give_the_mask_back(mask):
    rings = rings_of(mask)
    np.testing.assert_array_equal(filled(rings, mask.shape), mask)
    assert sum(signed_area(ring) for ring in rings) == mask.sum()
    for ring in rings:
        assert len({tuple(p) for p in ring.tolist()}) == len(ring)


@given(hnp.arrays(np.uint16, (7, 8, 2), elements=st.integers(0, 3)))
@settings(deadline=None, max_examples=60)
def test_parts_are_valid_polygons_of_the_objects_area(labels):
    import shapely

    back = np.zeros_like(labels)
    for outline in outlines_of(labels):
        mask = labels[..., outline.plane] == outline.label
        polygons = [shapely.Polygon(p[0], p[1:]) for p in outline.parts]
        assert all(polygon.is_valid for polygon in polygons)
        assert sum(polygon.area for polygon in polygons) == mask.sum()
        back[filled(outline.rings, mask.shape), outline.plane] = outline.label
    np.testing.assert_array_equal(back, labels)


def test_a_pixel_is_a_square_and_a_ring_has_a_hole():
    mask = np.zeros((6, 5), bool)
    mask[4, 1] = True
    (ring,) = rings_of(mask)
    assert sorted(ring.tolist()) == [[4, 1], [4, 2], [5, 1], [5, 2]]
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    assert sorted(signed_area(ring) for ring in rings_of(mask)) == [-1, 9]


@pytest.mark.parametrize("background", [0, 3])
def test_the_background_is_no_object(background):
    labels = np.full((4, 4, 1), background, np.uint8)
    labels[1, 1, 0] = 7
    found = list(outlines_of(labels, background=background))
    assert [(o.label, o.plane) for o in found] == [(7, 0)]
    labels[1, 1, 0] = background
    assert list(outlines_of(labels, background=background)) == []
