"""Objects side by side have different colours, which are seen on any ground."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.instances.object_palette import PALETTE, object_colours


def luminance(colour: tuple[int, ...]) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    shares = np.asarray(colour) / 255
    linear = np.where(
        shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("colour", PALETTE)
def test_a_colour_is_seen_on_black_and_on_white(colour: tuple[int, ...]) -> None:
    light = luminance(colour)
    assert 1.05 / (light + 0.05) > 2
    assert (light + 0.05) / 0.05 > 3


def test_colours_are_spread_over_objects_without_neighbours() -> None:
    colours = object_colours(len(PALETTE), [])
    assert len(np.unique(colours[1:], axis=0)) == len(PALETTE)
    assert colours[0].tolist() == [0, 0, 0]
    assert object_colours(0, []).shape == (1, 3)


@given(
    st.integers(2, 40).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(
                st.tuples(st.integers(1, n), st.integers(1, n)).filter(
                    lambda pair: pair[0] != pair[1]
                )
            ),
        )
    )
)
@settings(deadline=None, max_examples=50)
def test_neighbours_differ(objects: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = objects
    colours = object_colours(count, pairs)
    assert colours.shape == (count + 1, 3)
    for first, second in pairs:
        assert colours[first].tolist() != colours[second].tolist()


def test_thirty_objects_that_all_touch_have_thirty_colours() -> None:
    pairs = [(a, b) for a in range(1, 31) for b in range(a + 1, 31)]
    assert len(np.unique(object_colours(30, pairs)[1:], axis=0)) == 30
