from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_phantoms import FakeCase, box, phantom_cases
from scipy import stats

from medseg.errors import SettingsError, TrainingError
from medseg.sampling import PatchSampler, SamplingSettings
from medseg.sampling.strategies import STRATEGIES
from medseg.settings import parse_settings

PATCH = (16, 16, 16)


def sampler(cases, patch_size=PATCH, *, seed=0, **values) -> PatchSampler:
    chosen = SamplingSettings(**{"foreground_share": 1.0, **values})
    return PatchSampler(cases, patch_size=patch_size, settings=chosen, seed=seed)


def assert_frequencies(observed: Counter, expected: dict, *, total: int) -> None:
    """Chi-square: what was drawn fits what was promised."""
    assert set(observed) <= set(expected)
    counts = [observed[key] for key in expected]
    promised = np.asarray(list(expected.values())) * total
    assert stats.chisquare(counts, promised).pvalue > 1e-4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_repeatable_and_resumes_to_the_draw(strategy) -> None:
    cases = phantom_cases()
    one = sampler(cases, strategy=strategy, foreground_share=0.6)
    first = one.draw(7)
    state = one.state_dict()
    rest = one.draw(20)
    again = sampler(cases, strategy=strategy, foreground_share=0.6)
    assert again.draw(7) == first
    other = sampler(cases, strategy=strategy, foreground_share=0.6, seed=5)
    other.load_state_dict(state)
    assert other.draw(20) == rest


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("patch", [(16, 16, 16), (64, 8, 40), (16, 16), (64, 64)])
def test_every_strategy_survives_cases_without_structures(strategy, patch) -> None:
    empty = FakeCase("empty", np.zeros((20, 18, 10), dtype=np.uint8), num_classes=3)
    draws = sampler([empty, *phantom_cases()], patch, strategy=strategy).draw(60)
    assert len(draws) == 60
    alone = sampler([empty], patch, strategy=strategy).draw(5)
    assert all(draw.label == 0 for draw in alone)


@given(
    strategy=st.sampled_from(sorted(STRATEGIES)),
    patch=st.tuples(*[st.integers(1, 40)] * 3),
    jitter=st.floats(0, 1),
    seed=st.integers(0, 99),
)
@settings(max_examples=80)
def test_patches_hold_their_voxel_and_reach_out_only_where_too_large(
    strategy, patch, jitter, seed
) -> None:
    cases = phantom_cases()
    drawing = sampler(cases, patch, strategy=strategy, jitter=jitter, seed=seed)
    for draw in drawing.draw(10):
        shape = cases[draw.case_index].shape
        assert draw.case_id == cases[draw.case_index].case_id
        for axis in range(3):
            first, size, length = draw.corner[axis], draw.size[axis], shape[axis]
            assert min(0, length - size) <= first <= max(0, length - size)
            if draw.voxel is not None:
                assert first <= draw.voxel[axis] < first + size
        if draw.label:
            label = cases[draw.case_index].read_label()
            assert draw.voxel is None or label[draw.voxel] == draw.label


def test_uniform_takes_every_place_alike() -> None:
    case = FakeCase("a", np.zeros((18, 16, 10), dtype=np.uint8), num_classes=2)
    drawing = sampler([case], (16, 16, 16), strategy="uniform", foreground_share=0)
    seen = Counter(draw.corner[0] for draw in drawing.draw(3000))
    assert_frequencies(seen, {0: 1 / 3, 1: 1 / 3, 2: 1 / 3}, total=3000)


def test_cases_take_turns() -> None:
    cases = phantom_cases()
    for strategy in ("uniform", "foreground", "any_foreground"):
        drawn = sampler(cases, strategy=strategy).draw(5 * len(cases))
        assert set(Counter(draw.case_id for draw in drawn).values()) == {5}


@given(share=st.floats(0, 1))
@settings(max_examples=30)
def test_share_of_the_strategy_is_kept_to_the_draw(share) -> None:
    cases = [FakeCase("a", box((20, 20, 20), 1), num_classes=2)]
    drawn = sampler(cases, foreground_share=share, strategy="foreground").draw(50)
    assert abs(sum(draw.label == 1 for draw in drawn) - 50 * share) <= 1


def test_foreground_draws_structures_of_a_case_alike() -> None:
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[:20] = 1
    labels[25, 25, 25:27] = 2
    case = FakeCase("a", labels, num_classes=4)
    drawn = sampler([case], strategy="foreground").draw(2000)
    seen = Counter(draw.label for draw in drawn)
    assert_frequencies(seen, {1: 0.5, 2: 0.5}, total=2000)


def test_class_balanced_draws_structures_of_the_data_set_alike() -> None:
    cases = [FakeCase(f"{n}", box((20, 20, 20), 1), num_classes=3) for n in range(9)]
    cases.append(FakeCase("rare", box((20, 20, 20), 2), num_classes=3))
    drawn = sampler(cases, strategy="class_balanced").draw(2000)
    seen = Counter((draw.label, draw.case_id) for draw in drawn)
    expected = {(1, f"{n}"): 0.5 / 9 for n in range(9)} | {(2, "rare"): 0.5}
    assert_frequencies(seen, expected, total=2000)


@pytest.mark.parametrize(("power", "rare"), [(1.0, 1000 / 1008), (0.0, 0.5)])
def test_inverse_frequency_weighs_by_voxels(power, rare) -> None:
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[:10, :10, :10] = 1
    labels[20:22, 20:22, 20:22] = 2
    case = FakeCase("a", labels, num_classes=3)
    drawn = sampler([case], strategy="inverse_frequency", power=power).draw(4000)
    seen = Counter(draw.label for draw in drawn)
    assert_frequencies(seen, {1: 1 - rare, 2: rare}, total=4000)


def test_inverse_frequency_draws_each_voxel_of_a_class_alike() -> None:
    small, large = np.zeros((2, 20, 20, 20), dtype=np.uint8)
    small[0, 0, :5] = 1
    large[0, :15, 0] = 1
    cases = [FakeCase("s", small, num_classes=2), FakeCase("l", large, num_classes=2)]
    drawn = sampler(cases, strategy="inverse_frequency").draw(2000)
    seen = Counter(draw.case_id for draw in drawn)
    assert_frequencies(seen, {"s": 0.25, "l": 0.75}, total=2000)


def test_ten_voxels_among_ten_thousand_are_drawn_as_promised() -> None:
    small, large = np.zeros((2, 40, 40, 40), dtype=np.uint8)
    small[5, 5, 5:15] = 1
    large[0:22, 0:22, 0:21] = 1
    large[26:38, 20:40, 0:39] = 1
    cases = [FakeCase("s", small, num_classes=2), FakeCase("l", large, num_classes=2)]
    drawn = sampler(cases, strategy="lesion_balanced", size_bins=(100,)).draw(3000)
    seen = Counter(
        (draw.case_id, "upper" if draw.voxel[0] >= 26 else "lower") for draw in drawn
    )
    expected = {("s", "lower"): 0.5, ("l", "lower"): 0.25, ("l", "upper"): 0.25}
    assert_frequencies(seen, expected, total=3000)
    tiny = [draw.voxel for draw in drawn if draw.case_id == "s"]
    places = Counter(voxel[2] for voxel in tiny)
    assert_frequencies(places, dict.fromkeys(range(5, 15), 0.1), total=len(tiny))


def test_hard_cases_are_drawn_by_their_loss() -> None:
    cases = [FakeCase(n, box((20, 20, 20), 1), num_classes=2) for n in "abcd"]
    drawing = sampler(cases, strategy="hard_example")
    for name, loss in zip("abcd", (0.1, 0.2, 0.3, 0.4), strict=True):
        drawing.report_loss(name, loss)
    drawing.report_loss("a", float("nan"))
    seen = Counter(draw.case_id for draw in drawing.draw(4000))
    expected = {n: 0.8 * (i + 1) / 10 + 0.05 for i, n in enumerate("abcd")}
    assert_frequencies(seen, expected, total=4000)


def test_jitter_spreads_the_voxel_over_the_patch() -> None:
    labels = np.zeros((60, 60, 60), dtype=np.uint8)
    labels[30, 30, 30] = 1
    case = FakeCase("a", labels, num_classes=2)
    fixed = sampler([case], jitter=0, strategy="foreground").draw(50)
    assert {30 - draw.corner[0] for draw in fixed} <= {7, 8}
    anywhere = sampler([case], jitter=1, strategy="foreground").draw(2000)
    assert {30 - draw.corner[0] for draw in anywhere} == set(range(16))


def test_slices_hold_the_voxel() -> None:
    case = FakeCase("a", box((20, 20, 20), 1), num_classes=2)
    for draw in sampler([case], (8, 8), strategy="foreground").draw(30):
        assert draw.size == (8, 8, 1)
        assert draw.corner[2] == draw.voxel[2]


def test_no_case_is_refused() -> None:
    with pytest.raises(TrainingError, match="no case to draw patches from"):
        sampler([])


def test_unknown_strategy_is_named() -> None:
    with pytest.raises(SettingsError, match="strategy: must be 'uniform'"):
        parse_settings(SamplingSettings, {"strategy": "random"})
    with pytest.raises(SettingsError, match="do not rise"):
        parse_settings(SamplingSettings, {"size_bins": [10, 5]})
