"""Rules on hand-made label maps whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medseg.labels import LabelScheme
from medseg.postprocessing import CleaningRule, clean, find_holes, joint_rules

ONE = LabelScheme(names={"liver": 1, "tumour": 2})
MM = (1.0, 1.0, 2.0)


def cleaned(indices: np.ndarray, *rules: CleaningRule, scheme: LabelScheme = ONE):
    return clean(indices.astype(np.uint8), rules, scheme, spacing=MM)


def ring(size: int = 7) -> np.ndarray:
    """A hollow cube of liver, one voxel of background in its middle."""
    indices = np.zeros((size, size, size), np.uint8)
    indices[2:5, 2:5, 2:5] = 1
    indices[3, 3, 3] = 0
    return indices


def test_only_the_largest_component_of_the_structure_stays() -> None:
    indices = np.zeros((9, 9, 9))
    indices[0:3, 0:3, 0:3] = 1
    indices[5:7, 5:7, 5:7] = 1
    indices[8, 8, 8] = 2
    found, remarks = cleaned(
        indices, CleaningRule(structure="liver", keep_largest=True)
    )
    expected = indices.copy()
    expected[5:7, 5:7, 5:7] = 0
    np.testing.assert_array_equal(found, expected)
    assert remarks == ["post-processing of liver: 1 components (0.016 ml) taken away"]


def test_voxels_that_touch_at_corners_are_one_component() -> None:
    indices = np.zeros((4, 4, 4))
    indices[0, 0, 0] = indices[1, 1, 1] = 1
    found, _ = cleaned(indices, CleaningRule(structure="liver", keep_largest=True))
    assert found.sum() == 2


@pytest.mark.parametrize(("volume", "left"), [(15.9, 8), (16.0, 8), (16.1, 0)])
def test_smallest_volume_counts_millimetres(volume: float, left: int) -> None:
    indices = np.zeros((5, 5, 5))
    indices[1:3, 1:3, 1:3] = 1  # 8 voxels of 2 mm³
    rule = CleaningRule(structure="liver", min_volume_mm3=volume)
    assert int(cleaned(indices, rule)[0].sum()) == left


def test_a_hole_is_filled_and_a_bay_is_not() -> None:
    indices = ring()
    rule = CleaningRule(structure="liver", fill_holes=True)
    assert cleaned(indices, rule)[0][3, 3, 3] == 1
    indices[3, 3, 4] = 0  # opens the hole
    np.testing.assert_array_equal(cleaned(indices, rule)[0], indices)


def test_filling_never_overwrites_another_structure() -> None:
    indices = ring()
    indices[3, 3, 3] = 2
    rule = CleaningRule(structure="liver", fill_holes=True)
    assert cleaned(indices, rule)[0][3, 3, 3] == 2


def test_holes_of_a_flat_image_are_holes_in_2d() -> None:
    indices = ring()[:, :, 3:4]
    rule = CleaningRule(structure="liver", fill_holes=True)
    assert cleaned(indices, rule)[0][3, 3, 0] == 1


def test_a_region_is_cleaned_as_one_and_its_hole_takes_the_neighbours_label() -> None:
    scheme = LabelScheme(
        names={"oedema": 1, "core": 2}, regions={"whole": ("oedema", "core")}
    )
    indices = ring()
    indices[2, 2:5, 2:5] = 2  # one wall of another structure
    indices[6, 6, 6] = 2
    rule = CleaningRule(structure="whole", keep_largest=True, fill_holes=True)
    found, _ = cleaned(indices, rule, scheme=scheme)
    assert found[3, 3, 3] == 1
    assert found[6, 6, 6] == 0
    assert (found[2, 2:5, 2:5] == 2).all()


def test_an_absent_structure_is_left_alone() -> None:
    rule = CleaningRule(structure="tumour", keep_largest=True, fill_holes=True)
    found, remarks = cleaned(np.zeros((3, 3, 3)), rule)
    assert not found.any()
    assert remarks == []


@given(hnp.arrays(np.bool_, st.tuples(*[st.integers(2, 6)] * 3)))
def test_holes_are_those_of_scipy(mask: np.ndarray) -> None:
    holes, _ = find_holes(mask)
    np.testing.assert_array_equal((holes > 0) | mask, ndimage.binary_fill_holes(mask))


def test_a_rule_that_does_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="does nothing"):
        CleaningRule(structure="liver")


def test_models_share_only_what_all_of_them_do() -> None:
    one = CleaningRule(structure="liver", keep_largest=True, min_volume_mm3=30)
    two = CleaningRule(structure="liver", min_volume_mm3=10, fill_holes=True)
    other = CleaningRule(structure="tumour", fill_holes=True)
    (rule,) = joint_rules([[one, other], [two]])
    assert (rule.structure, rule.min_volume_mm3) == ("liver", 10)
    assert not rule.keep_largest
    assert not rule.fill_holes
