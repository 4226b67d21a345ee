import numpy as np
import pytest
from preparation_phantoms import small_plan

from medseg.errors import GeometryError, InputError
from medseg.geometry import Grid, affine_from_spacing
from medseg.plan import ChannelPlan
from medseg.preparation import preprocess
from medseg.preparation.normalization import normalize
from medseg.preparation.preprocessing import (
    nonzero_box,
    resampled_grid,
    with_channels,
)
from medseg.volume import Volume

RNG = np.random.default_rng(0)


def channel(**values) -> tuple[ChannelPlan, ...]:
    return (ChannelPlan(name="MR", **values),)


def test_zscore_has_mean_zero_and_deviation_one() -> None:
    voxels = RNG.normal(230_000, 5e4, (1, 8, 9, 10)).astype(np.float32)
    result = normalize(voxels, channel(normalization="zscore"))
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0, abs=1e-4)
    assert result.std() == pytest.approx(1, abs=1e-4)


def test_zscore_of_nonzero_voxels_leaves_zeros_zero() -> None:
    voxels = np.array([0, 0, 10, 20, 30], dtype=np.int16).reshape(1, 5, 1, 1)
    result = normalize(voxels, channel(normalization="zscore", nonzero_only=True))
    deviation = np.sqrt(200 / 3)
    expected = [0, 0, -10 / deviation, 0, 10 / deviation]
    np.testing.assert_allclose(result.ravel(), expected, rtol=1e-6)


def test_constant_scan_becomes_zero_and_not_nan() -> None:
    for how in ("zscore", "minmax", "percentile"):
        voxels = np.full((1, 4, 4, 4), 7, dtype=np.uint8)
        assert (normalize(voxels, channel(normalization=how)) == 0).all()


def test_all_zero_scan_stays_zero() -> None:
    for how in ("zscore", "percentile"):
        voxels = np.zeros((1, 4, 4, 4), dtype=np.uint8)
        plans = channel(normalization=how, nonzero_only=True)
        assert (normalize(voxels, plans) == 0).all()


def test_ct_is_clipped_and_scaled_with_the_plan() -> None:
    voxels = np.array([-2000, 0, 100, 3000], dtype=np.int16).reshape(1, 4, 1, 1)
    for how in ("ct", "fixed"):
        plans = channel(normalization=how, clip=(-100, 200), mean=50, std=10)
        assert normalize(voxels, plans).ravel().tolist() == [-15, -5, 5, 15]


def test_smallest_and_largest_become_zero_and_one() -> None:
    voxels = np.array([-2000, 0, 1000, 3000], dtype=np.int16).reshape(1, 4, 1, 1)
    result = normalize(voxels, channel(normalization="minmax")).ravel()
    np.testing.assert_allclose(result, [0, 0.4, 0.6, 1], rtol=1e-6)


def test_percentiles_become_zero_and_one() -> None:
    voxels = np.arange(101, dtype=np.float32).reshape(1, 101, 1, 1)
    result = normalize(voxels, channel(normalization="percentile")).ravel()
    assert result[1] == pytest.approx(0)
    assert result[99] == pytest.approx(1)


def test_none_changes_nothing() -> None:
    voxels = RNG.normal(size=(1, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(
        normalize(voxels, channel(normalization="none")), voxels
    )


def test_nonzero_box_spans_all_channels() -> None:
    voxels = np.zeros((2, 6, 6, 6))
    voxels[0, 1, 2, 3] = 1
    voxels[1, 4, 2, 5] = -1
    assert nonzero_box(voxels) == ((1, 5), (2, 3), (3, 6))
    assert nonzero_box(np.zeros((1, 2, 3, 4))) == ((0, 2), (0, 3), (0, 4))


def test_rounding_in_a_header_does_not_blur() -> None:
    grid = Grid((35, 50, 36), affine_from_spacing((0.99999, 1.00001, 1.004)))
    assert resampled_grid(grid, (1, 1, 1)) is grid


def test_spacing_of_zero_keeps_the_axis() -> None:
    grid = Grid((10, 20, 5), affine_from_spacing((1, 2, 7)))
    assert resampled_grid(grid, (2, 2, 0)).shape == (5, 20, 5)
    assert resampled_grid(grid, (2, 2, 0)).spacing == pytest.approx((2, 2, 7))


def test_linear_ramp_is_resampled_exactly() -> None:
    affine = affine_from_spacing((2, 1, 1))
    ramp = np.broadcast_to(np.arange(20.0)[None, :, None, None], (1, 20, 4, 4))
    prepared = preprocess(Volume(ramp.astype(np.float32), affine), small_plan())
    assert prepared.image.shape == (1, 40, 4, 4)
    inner = prepared.image[0, 1:-1, 0, 0]
    np.testing.assert_allclose(np.diff(inner), 0.5, atol=1e-5)


def test_grey_picture_among_colour_ones_is_repeated() -> None:
    grey = Volume(RNG.random((1, 3, 4, 1)), np.eye(4))
    colour = with_channels(grey, ("red", "green", "blue"), name="x")
    assert colour.num_channels == 3
    np.testing.assert_array_equal(colour.voxels[0], colour.voxels[2])


def test_missing_channel_is_refused() -> None:
    with pytest.raises(GeometryError, match="case_7: 2 channels, expected 1 \\(MR\\)"):
        preprocess(
            Volume(np.zeros((2, 4, 4, 4)), np.eye(4)), small_plan(), name="case_7"
        )


def test_nan_is_refused_with_its_number() -> None:
    voxels = np.zeros((1, 4, 4, 4), dtype=np.float32)
    voxels[0, 0, 0, :2] = (np.nan, np.inf)
    with pytest.raises(InputError, match="case_7: 2 of 64 voxels are NaN"):
        preprocess(Volume(voxels, np.eye(4)), small_plan(), name="case_7")


def test_a_grey_model_takes_pictures_whose_colours_are_equal():
    grey = np.random.default_rng(0).integers(0, 255, (1, 5, 6, 1)).astype(np.uint8)
    colours = Volume(np.repeat(grey, 3, axis=0), np.eye(4))
    found = with_channels(colours, ("grey",), name="picture")
    np.testing.assert_array_equal(found.voxels, grey)
    other = colours.voxels.copy()
    other[2, 0, 0, 0] ^= 1
    with pytest.raises(GeometryError, match="3 channels, expected 1"):
        with_channels(Volume(other, np.eye(4)), ("grey",), name="picture")
