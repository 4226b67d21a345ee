"""Looking only where something can be, and saying so."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import CPU, Pointwise, plan, random_network

from medseg.geometry import affine_from_spacing
from medseg.inference.predictor import Predictor
from medseg.inference.region_of_interest import air_limit, narrowed
from medseg.inference.settings import InferenceSettings
from medseg.plan import ChannelPlan
from medseg.preparation import preprocess
from medseg.volume import Volume

CT = ChannelPlan(name="CT", normalization="ct", clip=(-1000, 1000), mean=0, std=100)


def scan_with_body(shape: tuple[int, int, int] = (60, 50, 40)) -> Volume:
    voxels = np.full((1, *shape), -1000.0, dtype=np.float32)
    voxels += np.random.default_rng(0).uniform(0, 50, voxels.shape).astype(np.float32)
    voxels[:, 30:45, 10:20, 20:30] = 40
    voxels[:, 35:40, 12:18, 22:28] = 120
    return Volume(voxels, affine_from_spacing((1.0, 1.0, 1.0)))


def predictor(roi: str, spacing: float = 1.0) -> Predictor:
    wanted = plan((spacing,) * 3, (12, 12, 12), 3)
    wanted = wanted.model_copy(update={"channels": (CT,)})
    asked = InferenceSettings.model_validate({"roi": roi, "overlap": 0.5})
    return Predictor(Pointwise(), wanted, CPU, asked)


@pytest.mark.parametrize("roi", ["auto", "body", "coarse"])
@pytest.mark.parametrize("spacing", [1.0, 1.3, 0.8])
def test_what_lies_in_the_region_is_what_looking_everywhere_gives(
    roi: str, spacing: float
) -> None:
    notes: list[str] = []
    part = predictor(roi, spacing).predict(scan_with_body(), notes=notes)
    whole = predictor("all", spacing).predict(scan_with_body())
    assert whole.voxels.any()
    assert np.array_equal(part.voxels, whole.voxels)
    assert "prepared voxels:" in notes[0]
    assert "--roi all" in notes[0]


def test_windows_lie_where_they_would_for_the_whole_scan() -> None:
    sensitive = random_network(3, 3)  # to where a voxel lies in the window
    part, whole = (
        replace(predictor(roi), network=sensitive) for roi in ("body", "all")
    )
    notes: list[str] = []
    found = part.predict(scan_with_body(), notes=notes).voxels
    expected = whole.predict(scan_with_body()).voxels
    assert "prepared voxels:" in notes[0]
    inside = (slice(30, 45), slice(10, 20), slice(20, 30))
    assert np.array_equal(found[inside], expected[inside])
    assert not np.array_equal(found, expected)


def test_a_scan_of_air_or_without_a_ct_is_looked_at_everywhere() -> None:
    scan = scan_with_body()
    notes: list[str] = []
    air = Volume(np.full_like(scan.voxels, -900), scan.affine)
    predictor("body").predict(air, notes=notes)
    mr = predictor("body")
    channels = (ChannelPlan(name="MR", normalization="none"),)
    mr = replace(mr, plan=mr.plan.model_copy(update={"channels": channels}))
    mr.predict(scan, notes=notes)
    assert not any("prepared voxels:" in note for note in notes)


def test_a_higher_clip_raises_the_limit_of_air() -> None:
    assert air_limit(CT) == pytest.approx(-5, abs=0.01)
    assert air_limit(CT.model_copy(update={"clip": (-200, 300)})) > -2


@settings(max_examples=30)
@given(
    spacing=st.lists(st.sampled_from([0.6, 1.0, 1.7]), min_size=3, max_size=3),
    start=st.integers(0, 3),
    size=st.integers(1, 4),
)
def test_a_part_of_the_scan_lies_where_its_voxels_lie(
    spacing: list[float], start: int, size: int
) -> None:
    volume = Volume(
        np.random.default_rng(0).normal(size=(1, 12, 11, 10)).astype(np.float32),
        affine_from_spacing((1.0, 1.0, 1.0)),
    )
    prepared = preprocess(volume, plan(tuple(spacing), (8, 8, 8), 2))
    box = (slice(start, start + size),) * 3
    part = narrowed(prepared.placement, box)
    if part is None:
        return
    index = np.array([start, start, start, 1])
    assert np.allclose(
        part.prepared.affine[:, 3], prepared.placement.prepared.affine @ index
    )
    centre = np.linalg.inv(prepared.placement.prepared.affine) @ part.cropped.affine
    assert np.all(centre[:3, 3] >= start - 0.5 - 1e-9)
    assert part.source.mismatch(prepared.placement.source) == ""
