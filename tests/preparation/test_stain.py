"""Every stain ends with a dark ground and bright cells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medseg.datasets import load_dataset
from medseg.io import read_volume, write_label_map, write_volume
from medseg.labels import LabelScheme
from medseg.plan import ChannelPlan
from medseg.preparation.intensity_plan import plan_channels
from medseg.preparation.measuring import make_fingerprint
from medseg.preparation.normalization import Stretch, contrasts_of, faintness, normalize
from medseg.volume import LabelMap, Volume

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "nuclei"
STAIN = ChannelPlan(name="grey", normalization="stain")


def picture(ground: float, cell: float) -> np.ndarray:
    voxels = np.full((1, 20, 20, 1), ground)
    voxels[0, 5:9, 5:9] = cell
    return voxels


@pytest.mark.parametrize(("ground", "cell"), [(10, 200), (230, 90), (1000, 60_000)])
def test_cells_are_bright_on_dark(ground, cell):
    found = normalize(picture(ground, cell), (STAIN,))
    assert found[0, 0, 0, 0] == pytest.approx(0, abs=1e-5)
    assert found[0, 6, 6, 0] == pytest.approx(1, abs=1e-5)


def test_a_dark_ground_goes_through_a_root():
    voxels = picture(0, 100)
    voxels[0, 12, 12] = 25
    assert normalize(voxels, (STAIN,))[0, 12, 12, 0] == pytest.approx(0.5)


def test_channels_share_the_ground_of_their_picture():
    voxels = np.concatenate([picture(200, 100), picture(210, 50), picture(90, 100)])
    stretch = Stretch.measure(voxels)
    assert stretch.light
    assert stretch.apply(voxels)[2, 6, 6, 0] == pytest.approx(0)


def test_a_tile_is_stretched_as_the_whole():
    voxels = np.random.default_rng(0).gamma(1.0, 30.0, (3, 40, 40, 1))
    stretch = Stretch.measure(voxels)
    whole, part = stretch.apply(voxels), stretch.apply(voxels[:, 10:20, 5:9])
    assert np.array_equal(whole[:, 10:20, 5:9], part)


def test_a_constant_picture_is_finite():
    assert np.isfinite(normalize(np.full((1, 4, 4, 1), 7.0), (STAIN,))).all()


GROUNDS = {
    "haematoxylin and eosin": ((235, 205, 225), (110, 70, 150)),
    "bright field": ((190, 190, 185), (90, 85, 95)),
    "fluorescence": ((12, 10, 9), (150, 160, 140)),
    "dim fluorescence": ((3, 3, 3), (30, 28, 25)),
}
"""Red, green and blue of ground and nuclei, as such pictures have them."""


@pytest.mark.parametrize("stain", GROUNDS)
def test_the_ground_of_a_stain_is_told(stain):
    ground, nuclei = (np.reshape(rgb, (3, 1, 1, 1)) for rgb in GROUNDS[stain])
    random = np.random.default_rng(5)
    i, j = np.ogrid[:120, :120]
    inside = ((i % 30 - 15) ** 2 + (j % 24 - 12) ** 2 < 60)[None, :, :, None]
    noise = random.normal(0, 0.08 * np.maximum(ground, 20), (3, 120, 120, 1))
    voxels = np.clip(np.where(inside, nuclei, ground) + noise, 0, 255).astype(np.uint8)
    assert Stretch.measure(voxels).light == (float(np.mean(ground)) > 128)


@pytest.mark.skipif(not DATA.is_dir(), reason="no data beside the checkout")
def test_the_ground_of_real_stains_is_told():
    table = pd.read_csv(DATA / "manifest.csv").groupby("modality").head(4)
    for row in table.itertuples():
        light = Stretch.measure(read_volume(DATA / row.image).voxels).light
        assert light == (row.modality != "fluorescence"), row.id


NOISE = np.random.default_rng(1).integers(20, 31, (1, 60, 60, 1)).astype(np.uint8)
"""An empty picture: eleven grey levels and nothing else."""


def floored(kind: str, least: float) -> ChannelPlan:
    return ChannelPlan(name="grey", normalization=kind, least_range=least)


def test_the_noise_of_an_empty_picture_stays_small():
    found = normalize(NOISE, (floored("stain", 200),))
    assert float(found.max()) <= np.sqrt(10 / 200)
    assert float(normalize(NOISE, (floored("stain", 0),)).max()) == pytest.approx(1)


def test_an_empty_light_picture_stays_dark():
    voxels = 255 - np.where(NOISE > 28, 60, NOISE)  # a median near the upper end
    high = np.percentile(voxels, 99.8)
    found = normalize(voxels, (floored("stain", 200),))
    np.testing.assert_allclose(found, (high - voxels) / 200, atol=1e-6)


def test_percentiles_have_a_floor_too():
    low = np.percentile(NOISE, 1)
    found = normalize(NOISE, (floored("percentile", 100),))
    np.testing.assert_allclose(found, (NOISE - low) / 100, atol=1e-6)


@pytest.mark.parametrize("kind", ["stain", "percentile"])
def test_pictures_with_usual_contrast_are_as_ever(kind):
    voxels = np.random.default_rng(0).gamma(1.0, 30.0, (1, 40, 40, 1))
    plain = normalize(voxels, (ChannelPlan(name="grey", normalization=kind),))
    assert np.array_equal(normalize(voxels, (floored(kind, 60),)), plain)


@pytest.mark.parametrize("kind", ["stain", "percentile"])
def test_a_picture_with_too_little_contrast_is_told(kind):
    found = faintness(NOISE, (floored(kind, 50),))
    assert found is not None
    assert "a range of 10, at least 50 expected" in found.remark
    assert faintness(NOISE, (floored(kind, 9),)) is None
    assert faintness(NOISE, (floored(kind, 0),)) is None
    both = np.concatenate([NOISE, 9.0 * NOISE])
    assert faintness(both, (floored(kind, 50),) * 2) is None


def test_a_light_ground_has_limits_of_its_own():
    values = {"normalization": "stain", "least_range": 5, "least_range_light": 50}
    channels = (ChannelPlan(name="grey", **values),)
    light = 255 - np.where(NOISE > 28, 60, NOISE)
    assert faintness(NOISE, channels) is not None  # noise lies in the middle: light
    assert faintness(np.minimum(NOISE, 24) + (NOISE > 29), channels) is not None
    assert faintness(light, channels) is not None


def test_contrast_is_that_of_means_against_the_median_of_the_ground():
    voxels = np.full((2, 6, 6, 1), 10.0)
    objects = np.zeros((6, 6, 1), np.uint16)
    objects[:2, :2], objects[4:, 4:] = 1, 2
    voxels[0, :2, :2], voxels[1, 4:, 4:] = 30, 4
    voxels[0, 0, 0] = 50  # mean of four pixels: 35
    np.testing.assert_allclose(contrasts_of(objects, voxels), [[25, 0], [0, 6]])


@pytest.mark.parametrize("instances", [True, False])
def test_the_limits_are_learnt_from_pictures_that_show_something(tmp_path, instances):
    ranges, contrasts = [], []
    for number, bright in enumerate([200, 120, 60, 0]):  # the last one is empty
        voxels = NOISE.astype(np.uint8)
        label = np.zeros((60, 60, 1), np.uint8)
        if bright:
            voxels[0, 5:20, 5:20] = bright
            label[5:20, 5:20] = 1
            high = 99.8 if instances else 99
            ranges.append(np.percentile(voxels, high) - np.percentile(voxels, 1))
            contrasts.append(bright - np.median(voxels[0][label == 0]))
        write_volume(tmp_path / f"images/p{number}.png", Volume(voxels, np.eye(4)))
        path = tmp_path / f"labels/p{number}.png"
        write_label_map(path, LabelMap(label, np.eye(4)))
    scheme = LabelScheme(names={"cell": 1}, instances=instances)
    fingerprint = make_fingerprint(load_dataset(tmp_path, scheme=scheme), workers=1)
    (channel,), reason = plan_channels(fingerprint, cells=instances)
    assert channel.least_range == pytest.approx(np.percentile(ranges, 5))
    assert channel.least_contrast == pytest.approx(np.percentile(contrasts, 5) / 2)
    assert f"no range below {channel.least_range:.4g}" in reason


def test_plans_of_models_made_before_stretch_as_they_did():
    old = {"name": "grey", "normalization": "stain", "nonzero_only": False}
    plan = ChannelPlan.model_validate(old)
    assert plan.least_range == 0
    assert np.array_equal(
        normalize(NOISE, (plan,)), Stretch.measure(NOISE).apply(NOISE)
    )
