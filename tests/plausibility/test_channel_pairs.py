"""Which channel is which: signs, the discriminant, orders that fit better."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from phantom_scans import changed, head, head_plan, tumour

from medseg.plausibility.channel_pairs import (
    NUM_TONES,
    SHARE_OF_TONES,
    best_other,
    fit_directions,
    fits,
    names_as_they_look,
    orders_of,
    pair_differences,
    reordered,
)
from medseg.plausibility.fitting import MeasuredRun, fit_ranges
from medseg.plausibility.judgement import judge
from medseg.plausibility.scan_measures import measure_scan
from medseg.training_ranges import FILE, TrainingRanges, read_ranges
from medseg.volume import Volume

NAMES = ("T1", "FLAIR", "noise")


def image(seed: int) -> np.ndarray:
    """T1, FLAIR and a channel of noise on a gradient."""
    generator = np.random.default_rng([9, seed])
    two = head(seed).voxels
    ramp = np.linspace(0, 50, two.shape[1])[:, None, None]
    third = generator.normal(100, 10, two.shape[1:]) + ramp
    return np.concatenate([two, third[None].astype(np.float32)])


@pytest.fixture(scope="module")
def directions() -> np.ndarray:
    return fit_directions(np.array([pair_differences(image(n)) for n in range(12)]))


def test_differences_change_their_sign_with_the_order() -> None:
    voxels = image(50)
    own = pair_differences(voxels)
    for order in orders_of(3):
        np.testing.assert_allclose(
            pair_differences(voxels[list(order)]), reordered(own, order), atol=1e-9
        )


def test_what_normalisation_does_to_a_channel_makes_no_difference() -> None:
    plan = head_plan(NAMES)
    channels = [
        plan.channels[0].model_copy(update={"nonzero_only": True}),
        *plan.channels[1:],
    ]
    mixed = plan.model_copy(update={"channels": tuple(channels)})
    voxels = np.maximum(image(51) - 60, 0)  # zeros around the head
    assert (voxels[0] == 0).mean() > 0.1
    own = measure_scan(Volume(voxels, np.eye(4)), mixed).pairs
    np.testing.assert_allclose(
        own, measure_scan(Volume(voxels, np.eye(4)), plan).pairs, atol=1e-6
    )
    for order in orders_of(3):
        given = Volume(np.ascontiguousarray(voxels[list(order)]), np.eye(4))
        np.testing.assert_allclose(
            measure_scan(given, mixed).pairs, reordered(own, order), atol=1e-6
        )


def test_every_order_is_recognised(directions: np.ndarray) -> None:
    orders = list(itertools.permutations(range(3)))
    for seed, given in itertools.product((60, 61), orders):
        differences = pair_differences(image(seed)[list(given)])
        margin, order = best_other(differences, directions)
        if given == (0, 1, 2):
            assert margin > 0
            continue
        assert margin < 0
        looks = names_as_they_look(NAMES, order)
        assert looks == tuple(NAMES[number] for number in given)


def test_the_direction_is_the_inverse_covariance_times_the_mean() -> None:
    generator = np.random.default_rng(0)
    size = NUM_TONES + 512
    differences = generator.normal(0.3, 1, size=(7, 1, size))
    found = fit_directions(differences)[0]
    values = differences[:, 0]
    scale = np.sqrt((values**2).mean(axis=0))
    scale += 1e-3 * scale.mean()
    shares = [SHARE_OF_TONES / NUM_TONES] * NUM_TONES
    shares += [(1 - SHARE_OF_TONES) / 512] * 512
    scaled = values / scale * np.sqrt(shares)
    covariance = np.cov(scaled.T, bias=True)
    ridge = np.trace(covariance) / size * np.eye(size)
    expected = np.linalg.solve(covariance + ridge, scaled.mean(axis=0))
    expected *= np.sqrt(shares) / scale
    cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1, abs=1e-6)


def test_the_given_order_comes_first_and_of_many_channels_two_change_places() -> None:
    assert [len(orders_of(n)) for n in (2, 3, 4, 5)] == [2, 6, 24, 11]
    for count in (2, 3, 4, 5):
        assert orders_of(count)[0] == tuple(range(count))
        assert len(set(orders_of(count))) == len(orders_of(count))
    five = np.random.default_rng(1).normal(size=(10, 3))
    assert fits(five, five)[0] == pytest.approx((five**2).sum())


def ranges_of(change, *, count: int = 24) -> TrainingRanges:
    plan = head_plan()
    cases = [str(n) for n in range(count)]
    scans = {c: measure_scan(changed(head(int(c)), change), plan) for c in cases}
    return fit_ranges(MeasuredRun({c: c for c in cases}, scans, {}, {}))


def test_what_would_be_noticed_is_known_when_the_model_is_made() -> None:
    ranges = ranges_of(lambda v: v)
    (pair,) = ranges.pairs
    assert (pair.num_noticed, pair.num_scans) == (24, 24)
    assert "noticed in so many scans: T1 and FLAIR 24 of 24" in ranges.describe()
    two = np.random.default_rng(3)

    def alike(voxels: np.ndarray) -> np.ndarray:
        both = np.stack([voxels[0], voxels[0]])
        return both + two.normal(scale=8, size=both.shape)

    ranges = ranges_of(alike)
    assert not ranges.pairs[0].is_told_apart
    assert "T1 and FLAIR cannot be told apart here" in ranges.describe()


def test_folders_of_former_versions_do_not_check_the_order(tmp_path: Path) -> None:
    values = json.loads(ranges_of(lambda v: v, count=8).model_dump_json())
    del values["pairs"]
    values["version"] = 1
    values["ranges"] = [
        {"kind": "order", "of": ["T1", "FLAIR"], "low": 0.1, "high": 0.4},
        *(one for one in values["ranges"] if one["kind"] != "arrangement"),
    ]
    for profile in values["profiles"]:
        profile["spread"] = [0.1] * len(profile["mean"])
    (tmp_path / FILE).write_text(json.dumps(values))
    ranges = read_ranges(tmp_path)
    assert ranges is not None
    assert "the order of channels is not checked" in ranges.describe()
    volume = head(30)
    turned = Volume(volume.voxels[::-1].copy(), volume.affine)
    found = judge(turned, tumour(30, volume), head_plan(), ranges)
    assert not any("look like" in doubt for doubt in found.doubts)
