import numpy as np
import pytest
from sampling_phantoms import FakeCase

from medseg.sampling import (
    Draw,
    PatchSampler,
    SamplingSettings,
    SamplingStats,
    absence_alarms,
    collapse_alarms,
    gather,
    starvation_alarms,
)
from medseg.sampling.sampling_stats import voxels_of_classes


def two_sizes() -> FakeCase:
    label = np.zeros((40, 40, 40), dtype=np.uint8)
    label[2:12, 2:12, 2:12] = 1
    label[30, 30, 30:33] = 1
    label[30, 5, 5] = 2
    return FakeCase("a", label, num_classes=3)


def sampling_stats_of(case: FakeCase) -> SamplingStats:
    return SamplingStats([case], structures=("big", "small"), size_bins=(10,))


def shown(case, corner, size=(16, 16, 16)) -> tuple[list[Draw], np.ndarray]:
    draws = [Draw(0, case.case_id, corner, size)]
    return draws, gather([case], draws, spatial_dims=3).labels.numpy()


def test_counts_are_right_by_hand() -> None:
    case = two_sizes()
    sampling_stats = sampling_stats_of(case)
    sampling_stats.add(*shown(case, (0, 0, 0)))
    sampling_stats.add(*shown(case, (24, 24, 24)))
    sampling_stats.add(*shown(case, (8, 8, 8)))
    rows = sampling_stats.table().set_index(["structure", "size_bin"])
    big = rows.loc[("big", "all")]
    assert (big["patches"], big["lesions"], big["lesions_shown"]) == (3, 2, 2)
    assert big["voxels_shown"] == 1000 + 3 + 64
    assert rows.loc[("big", "under 10"), "shows_per_lesion"] == 1
    assert rows.loc[("big", "10 or more"), "shows_per_lesion"] == 2
    assert rows.loc[("small", "all"), "lesions_shown"] == 0
    counts = sampling_stats.state_dict()[case.case_id]
    assert counts["with_class"][1:] == [3, 0]


def test_metrics_are_shares() -> None:
    case = two_sizes()
    sampling_stats = sampling_stats_of(case)
    sampling_stats.add(*shown(case, (0, 0, 0)))
    found = sampling_stats.metrics()
    assert found["sampling/patches"] == 1
    assert found["sampling/big/patches_share"] == 1
    assert found["sampling/big/voxels_share"] == pytest.approx(1000 / 16**3)
    assert found["sampling/big/lesions_shown_share"] == 0.5
    assert found["sampling/small/lesions_shown_share"] == 0


def test_ledger_goes_on_counting() -> None:
    case = two_sizes()
    one, other = sampling_stats_of(case), sampling_stats_of(case)
    one.add(*shown(case, (0, 0, 0)))
    other.load_state_dict(one.state_dict())
    assert other.table().equals(one.table())


def run(
    case: FakeCase, sampling_stats: SamplingStats, settings: SamplingSettings, num: int
) -> None:
    sampler = PatchSampler([case], patch_size=(8, 8, 8), settings=settings, seed=0)
    for _ in range(num):
        draws = sampler.draw(1)
        sampling_stats.add(draws, gather([case], draws, spatial_dims=3).labels.numpy())


def test_starved_structure_raises_an_alarm_with_a_change() -> None:
    case, settings = two_sizes(), SamplingSettings(strategy="uniform")
    sampling_stats = sampling_stats_of(case)
    run(case, sampling_stats, settings, 250)
    alarms = starvation_alarms(sampling_stats, settings)
    assert any(a.startswith("small is in") and "class_balanced" in a for a in alarms)


def test_balanced_sampling_raises_no_alarm() -> None:
    case = two_sizes()
    settings = SamplingSettings(strategy="lesion_balanced", foreground_share=0.9)
    sampling_stats = sampling_stats_of(case)
    run(case, sampling_stats, settings, 250)
    assert starvation_alarms(sampling_stats, settings) == []


def test_lesions_never_shown_are_counted() -> None:
    case, settings = two_sizes(), SamplingSettings(strategy="foreground")
    sampling_stats = sampling_stats_of(case)
    for _ in range(250):
        sampling_stats.add(*shown(case, (0, 0, 0)))
    alarms = starvation_alarms(sampling_stats, settings)
    assert any(
        "1 of 1 components of big with under 10 voxels were never seen" in a
        and "lesion_balanced" in a
        for a in alarms
    )


def test_collapse_is_told_from_slow_learning() -> None:
    case, settings = two_sizes(), SamplingSettings()
    sampling_stats = sampling_stats_of(case)
    sampling_stats.add(*shown(case, (0, 0, 0)))
    fell = [{"big": d, "small": 0.3} for d in (0.1, 0.6, 0.01, 0.0)]
    (alarm,) = collapse_alarms(fell, sampling_stats, settings)
    assert alarm.startswith("Dice of big fell from 0.60 to 0.00; it is in 100.0%")
    assert "dice_ce" in alarm
    good = [{"big": 0.0}, {"big": 0.1}, {"big": 0.4}]
    assert collapse_alarms(good, sampling_stats, settings) == []


def without_small() -> FakeCase:
    label = np.zeros((40, 40, 40), dtype=np.uint8)
    label[2:12, 2:12, 2:12] = 1
    return FakeCase("a", label, num_classes=3)


@pytest.mark.parametrize("strategy", ["foreground", "class_balanced", "uniform"])
def test_no_sampling_is_advised_for_what_no_training_case_shows(strategy) -> None:
    case, settings = without_small(), SamplingSettings(strategy=strategy)
    sampling_stats = sampling_stats_of(case)
    for _ in range(250):
        sampling_stats.add(*shown(case, (0, 0, 0)))
    looks = [{"big": 0.8, "small": 0.0}] * 4
    assert starvation_alarms(sampling_stats, settings) == []
    assert collapse_alarms(looks, sampling_stats, settings) == []
    (alarm,) = absence_alarms(sampling_stats)
    assert alarm.startswith("no training case shows small, so that it cannot be learnt")
    assert "sampling" not in alarm


def test_what_a_case_shows_is_not_called_absent() -> None:
    assert absence_alarms(sampling_stats_of(two_sizes())) == []


def test_a_dice_that_is_no_number_is_no_collapse() -> None:
    """No validation case shows the structure, and none was predicted."""
    case = two_sizes()
    sampling_stats = sampling_stats_of(case)
    sampling_stats.add(*shown(case, (0, 0, 0)))
    looks = [{"big": 0.8, "small": float("nan")}] * 4
    assert collapse_alarms(looks, sampling_stats, SamplingSettings()) == []


@pytest.mark.parametrize("num_classes", [2, 8, 9, 118])
def test_voxels_of_classes_leave_out_what_is_ignored(num_classes: int) -> None:
    label = np.full((4, 5, 6), 255, np.uint8)
    label[0], label[1, :2], label[2, 0, 0] = 0, 1, num_classes - 1
    expected = np.zeros(num_classes, int)
    expected[0], expected[1] = 30, 12
    expected[num_classes - 1] += 1
    turned = label.transpose(2, 1, 0)  # patches need not be contiguous
    assert voxels_of_classes(turned, num_classes).tolist() == expected.tolist()
