"""Ranges and limits: what they catch, and how often they raise a false alarm."""

from dataclasses import replace

import numpy as np
import pytest
from phantom_scans import changed, head, head_plan, inverted, tumour

from medseg.geometry import affine_from_spacing
from medseg.plausibility.finding_measures import measure_findings
from medseg.plausibility.fitting import (
    MeasuredRun,
    count_false_alarms,
    cross_fitted,
    fit_ranges,
    limit_of,
    odd_cases,
)
from medseg.plausibility.judgement import NOT_CHECKED, judge
from medseg.plausibility.scan_measures import measure_scan
from medseg.training_ranges import TrainingRanges
from medseg.volume import LabelMap, Volume

PLAN = head_plan()


@pytest.fixture(scope="module")
def measured() -> MeasuredRun:
    """Thirty patients, ten of them held out."""
    scans, references, predictions = {}, {}, {}
    for seed in range(30):
        volume, case = head(seed), f"case{seed:02d}"
        scans[case] = measure_scan(volume, PLAN)
        label_map = tumour(seed, volume)
        kept = predictions if seed >= 20 else references
        kept[case] = measure_findings(label_map, PLAN)
    return MeasuredRun({case: case for case in scans}, scans, references, predictions)


@pytest.fixture(scope="module")
def ranges(measured: MeasuredRun) -> TrainingRanges:
    return fit_ranges(measured)


def doubts_of(
    ranges: TrainingRanges, volume: Volume, label_map: LabelMap | None = None
):
    found = label_map or tumour(99, volume)
    return judge(volume, found, PLAN, ranges).doubts


def test_new_scans_of_the_same_kind_are_seldom_suspect(ranges: TrainingRanges) -> None:
    suspect = sum(bool(doubts_of(ranges, head(seed))) for seed in range(100, 140))
    bound = sum(limit.false_alarm_bound or 0 for limit in ranges.limits.values())
    assert bound == pytest.approx(2 / 31 + 3 / 31 + 1 / 11)
    assert suspect <= 2 * bound * 40


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (inverted, "inverted"),
        (lambda v: v[::-1], "look like FLAIR, T1 in this order"),
        (lambda v: np.stack([v[0], v[1].max() - v[1]]), "FLAIR: where it is bright"),
        (lambda v: np.stack([v[0].max() - v[0], v[1]]), "T1: where it is bright"),
        (lambda v: np.roll(v, 20, axis=1), "where it is bright"),
        (lambda v: np.random.default_rng(0).normal(size=v.shape), "where it is bright"),
        (lambda v: v[:, 12:28, 12:28, 8:16], "the scan covers"),
        (lambda v: v[[0, 0]], "correlate with r = 1.00"),
    ],
)
def test_disturbed_scans_are_suspect_with_the_reason(
    ranges: TrainingRanges, change, reason: str
) -> None:
    for seed in range(50, 55):
        volume = changed(head(seed), change)
        assert any(reason in doubt for doubt in doubts_of(ranges, volume)), seed


@pytest.mark.parametrize(
    ("affine", "reason"),
    [
        (affine_from_spacing((0.3, 0.3, 10.0), (5, 5, 5)), "voxels of 0.3 mm"),
        (np.eye(4), "does not say where its axes point"),
        (np.diag([-1.0, -1.0, 1.0, 1.0]), "does not say where its axes point"),
        (affine_from_spacing((40.0, 40.0, 60.0), (5, 5, 5)), "voxels of 40 mm"),
    ],
)
def test_geometry_unlike_training_is_suspect(
    ranges: TrainingRanges, affine: np.ndarray, reason: str
) -> None:
    volume = Volume(head(60).voxels, affine)
    assert any(reason in doubt for doubt in doubts_of(ranges, volume))


def test_findings_unlike_training_are_suspect(ranges: TrainingRanges) -> None:
    volume = head(61)
    huge = LabelMap(np.ones(volume.grid.shape, np.uint8), volume.affine)
    none = LabelMap(np.zeros(volume.grid.shape, np.uint8), volume.affine)
    assert doubts_of(ranges, volume, huge)[0].startswith("tumour: 4.06e+03 ml")
    assert "tumour was found nowhere" in doubts_of(ranges, volume, none)[0]
    many = LabelMap(
        huge.voxels * (np.indices(volume.grid.shape).sum(0) % 7 == 0), volume.affine
    )
    many.voxels[1::2] = 0
    assert any("separate parts" in doubt for doubt in doubts_of(ranges, volume, many))


def test_units_and_axes_of_the_file_do_not_matter(ranges: TrainingRanges) -> None:
    volume = head(62)
    found = tumour(62, volume)
    other = changed(volume, lambda v: 7 * v + 1000)
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = volume.grid.shape[0] - 1
    turned = Volume(volume.voxels[:, ::-1], volume.affine @ turn)
    for same in (other, turned):
        measured = measure_scan(same, PLAN)
        own = measure_scan(volume, PLAN)
        assert measured.values == pytest.approx(own.values, abs=1e-3)
        np.testing.assert_allclose(measured.profile, own.profile, atol=1e-3)
    assert not judge(volume, found, PLAN, ranges).doubts


def test_nothing_is_changed(ranges: TrainingRanges) -> None:
    volume, found = head(63), tumour(63, head(63))
    before = volume.voxels.copy(), found.voxels.copy()
    judge(volume, found, PLAN, ranges)
    np.testing.assert_array_equal(volume.voxels, before[0])
    np.testing.assert_array_equal(found.voxels, before[1])


def test_without_ranges_nothing_is_checked() -> None:
    volume = head(64)
    answer = judge(volume, tumour(64, volume), PLAN, None)
    assert (answer.doubts, answer.unchecked) == ((), NOT_CHECKED)


@pytest.mark.parametrize(
    ("count", "rank", "bound"),
    [
        (1, 1, 1 / 2),
        (5, 5, 1 / 6),
        (19, 19, 1 / 20),
        (39, 38, 2 / 40),
        (99, 95, 5 / 100),
    ],
)
def test_the_limit_is_the_conformal_quantile(
    count: int, rank: int, bound: float
) -> None:
    limit = limit_of("findings", [float(n) for n in range(1, count + 1)])
    assert limit.excess == rank
    assert limit.false_alarm_bound == pytest.approx(bound)


@pytest.mark.parametrize("count", [5, 30])
def test_new_patients_exceed_the_limit_as_seldom_as_stated(count: int) -> None:
    generator = np.random.default_rng(count)
    scores = generator.exponential(size=(4000, count + 1)) + 1
    limits = [limit_of("order", list(row[:-1])) for row in scores]
    exceeded = np.mean(
        [row[-1] > limit.excess for row, limit in zip(scores, limits, strict=True)]
    )
    bound = limits[0].false_alarm_bound
    assert bound is not None
    assert exceeded == pytest.approx(bound, abs=0.02)


def test_patients_are_judged_by_limits_of_the_others() -> None:
    scores = {
        "findings": {"a": 1.0, "b": 2.0, "c": 3.0},
        "order": {"a": 0.0, "b": 0.5, "d": 9.0, "c": 0.1},
    }
    assert count_false_alarms(scores, "abc") == (3, 1)
    assert count_false_alarms({"findings": {"a": 1.0}}, "a") == (0, 0)


def test_scans_of_one_patient_are_never_compared_with_each_other(
    measured: MeasuredRun,
) -> None:
    scans = {c: measured.scans[c] for c in ("case00", "case01")}
    assert cross_fitted(scans, {"case00": "one", "case01": "one"}) == {}
    few = fit_ranges(
        replace(measured, patients=dict.fromkeys(measured.scans, "one"), predictions={})
    )
    assert few.limits["geometry"].false_alarm_bound is None
    assert "suspect" not in few.describe()


def test_a_case_of_the_run_that_is_unlike_the_others_is_found(
    measured: MeasuredRun,
) -> None:
    swapped = measure_scan(changed(head(3), lambda v: v[::-1]), PLAN)
    scans = {**measured.scans, "case03": swapped, "case04": measured.scans["case04"]}
    run = replace(measured, scans=scans)
    limits = {
        f: limit.replaced(excess=0.5)
        for f, limit in fit_ranges(measured).limits.items()
    }
    odd = odd_cases(run, fit_ranges(measured).replaced(limits=limits))
    assert "look like FLAIR, T1" in " ".join(odd["case03"])
    assert len(odd) < 4
