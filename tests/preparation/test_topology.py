import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.preparation.topology import choose_topology, cube_within


def topology(shape, spacing, most=128**3, *, stem=False):
    return choose_topology(
        np.asarray(shape), np.asarray(spacing), most_voxels=most, strided_stem=stem
    )


def test_hippocampus_gets_the_patch_of_nnunet() -> None:
    found = topology((35, 50, 36), (1, 1, 1))
    assert found.patch_size == (40, 56, 40)
    assert found.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))


def test_strided_stem_halves_at_once() -> None:
    found = topology((35, 50, 36), (1, 1, 1), stem=True)
    assert found.strides == ((2, 2, 2),) * 3
    assert found.patch_size == (40, 56, 40)


def test_coarse_axis_is_halved_later_and_convolved_flat() -> None:
    found = topology((256, 256, 24), (0.7, 0.7, 6.5))
    assert found.strides[1] == (2, 2, 1)
    assert found.kernel_sizes[0] == (3, 3, 1)
    assert found.kernel_sizes[-1] == (3, 3, 3)


def test_large_scans_get_the_largest_cube_in_mm() -> None:
    found = topology((512, 512, 300), (1, 1, 2))
    assert found.patch_size[0] == found.patch_size[1]
    assert found.patch_size[0] / found.patch_size[2] == pytest.approx(2, rel=0.1)
    assert 0.7 * 128**3 < np.prod(found.patch_size) <= 128**3


def test_short_axis_leaves_its_share_to_the_others() -> None:
    window = cube_within(np.asarray([500, 500, 10]), np.ones(3), 100_000)
    assert window.tolist() == [100, 100, 10]


@given(
    shape=st.lists(st.integers(1, 600), min_size=2, max_size=3),
    spacing=st.lists(st.floats(0.2, 8), min_size=3, max_size=3),
    stem=st.booleans(),
)
@settings(max_examples=100)
def test_patches_are_divisible_and_within_budget(shape, spacing, stem) -> None:
    found = topology(shape, spacing[: len(shape)], 80**3, stem=stem)
    divisor = np.prod(np.asarray(found.strides), axis=0)
    assert (np.asarray(found.patch_size) % divisor == 0).all()
    assert np.prod(found.patch_size) <= 80**3
    assert len(found.strides) == len(found.kernel_sizes) >= 2
