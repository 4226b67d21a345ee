"""Every stain ends with a dark ground and bright cells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medseg.io import read_volume
from medseg.plan import ChannelPlan
from medseg.preparation.normalization import normalize
from medseg.preparation.stain import Stretch

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


@pytest.mark.skipif(not DATA.is_dir(), reason="no data beside the checkout")
def test_the_ground_of_real_stains_is_told():
    table = pd.read_csv(DATA / "manifest.csv").groupby("modality").head(4)
    for row in table.itertuples():
        light = Stretch.measure(read_volume(DATA / row.image).voxels).light
        assert light == (row.modality != "fluorescence"), row.id
