"""Diameters of bodies whose lengths were worked out by hand."""

import numpy as np
import pytest

from medseg.geometry import affine_from_spacing
from medseg.instances.diameters import largest_diameter, longest_axes, number_objects


def rotation(*angles: float) -> np.ndarray:
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (n for n in range(3) if n != axis)
        step = np.eye(3)
        step[[a, a, b, b], [a, b, a, b]] = (
            *(np.cos(angle), -np.sin(angle)),
            *(np.sin(angle), np.cos(angle)),
        )
        turned = turned @ step
    return turned


def test_a_single_pixel_is_as_wide_as_it_is():
    planes = np.zeros((3, 5, 6), bool)
    planes[1, 2, 3] = True
    axes = longest_axes(planes, spacing=(0.5, 2.0))
    assert axes is not None
    assert (axes.slice_index, axes.long_mm, axes.short_mm) == (1, 2.0, 0.5)
    volume = planes.transpose(2, 1, 0)
    affine = affine_from_spacing((2.0, 0.5, 3.0))
    assert largest_diameter(volume, affine) == pytest.approx(3.0)
    assert number_objects(volume).max() == 1


def test_a_box_is_measured_from_rim_to_rim():
    planes = np.zeros((1, 12, 9), bool)
    planes[0, 1:9, 2:7] = True  # 8 x 5 pixels of 0.5 x 2 mm: 4 x 10 mm
    axes = longest_axes(planes, spacing=(0.5, 2.0))
    assert axes is not None
    # its outline misses the corners by half a pixel: (2, 4) to (-1.75, -5), or
    # (1.75, 5) to (-1.75, -5), which is longer
    assert axes.long_mm == pytest.approx(np.hypot(3.5, 10.0))
    # the line across through a corner of the outline: computed on a fine raster
    assert axes.short_mm == pytest.approx(3.95, abs=0.3)


def test_two_regions_of_a_slice_are_not_one():
    planes = np.zeros((2, 30, 30), bool)
    planes[0, 2:5, 2:12] = True
    planes[0, 2:5, 15:29] = True
    planes[1, 10, 10] = True
    axes = longest_axes(planes, spacing=(1.0, 1.0))
    assert axes is not None
    assert axes.slice_index == 0
    assert axes.long_mm == pytest.approx(np.hypot(14, 2))
    assert number_objects(planes).max() == 3
    assert largest_diameter(planes, np.eye(4)) == pytest.approx(np.hypot(14, 2), 0.02)


def test_corners_connect():
    planes = np.zeros((1, 4, 4), bool)
    planes[0, 0, 0] = planes[0, 1, 1] = True
    assert number_objects(planes).max() == 1
    axes = longest_axes(planes, spacing=(1.0, 1.0))
    assert axes is not None
    assert axes.long_mm == pytest.approx(np.hypot(1.5, 1.5), abs=0.13)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.3, -0.5, 0.9), (1.1, 0.4, 2.0)])
def test_an_ellipsoid_on_an_oblique_grid_is_as_long_as_it_is(angles):
    spacing = np.array([0.8, 0.5, 1.6])
    radii = np.array([20.0, 11.0, 7.0])
    directions = rotation(0.4, 0.2, -0.7)  # of the grid
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = [-50.0, 12.0, 7.0]
    shape = tuple((2 * 24 / spacing).astype(int))
    index = np.stack(np.indices(shape), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    centre = affine[:3, :3] @ (np.array(shape) / 2) + affine[:3, 3]
    own = rotation(*angles)  # of the ellipsoid, in the world
    mask = (((world - centre) @ own / radii) ** 2).sum(-1) <= 1
    assert largest_diameter(mask, affine) == pytest.approx(40.0, abs=1.0)


def test_an_ellipse_has_its_two_axes_however_it_lies():
    spacing = (0.8, 0.5)
    row, column = np.indices((90, 140))
    y, x = (row - 45) * spacing[0], (column - 70) * spacing[1]
    for angle in np.linspace(0, np.pi, 7):
        u = x * np.cos(angle) + y * np.sin(angle)
        v = y * np.cos(angle) - x * np.sin(angle)
        mask = (u / 25) ** 2 + (v / 9) ** 2 <= 1
        axes = longest_axes(mask[None], spacing=spacing)
        assert axes is not None
        assert axes.long_mm == pytest.approx(50, abs=0.8)
        assert axes.short_mm == pytest.approx(18, abs=0.8)


def test_nothing_has_no_axes():
    assert longest_axes(np.zeros((2, 3, 3), bool), spacing=(1.0, 1.0)) is None
    assert largest_diameter(np.zeros((2, 3, 3), bool), np.eye(4)) == 0
    assert number_objects(np.zeros((2, 3, 3), bool)).max() == 0


def test_a_thousand_specks_take_no_time_each():
    mask = np.zeros((60, 60, 60), bool)
    mask[::3, ::3, ::3] = True
    mask[4:40, 4, 4] = True
    assert largest_diameter(mask, np.eye(4)) >= 36
