"""The file of training ranges in a model folder."""

import json
from pathlib import Path

import pytest
from phantom_scans import head, head_plan, tumour

from medseg.errors import ModelError
from medseg.plausibility.finding_measures import measure_findings
from medseg.plausibility.fitting import MeasuredRun, fit_ranges
from medseg.plausibility.scan_measures import measure_scan
from medseg.training_ranges import FILE, TrainingRanges, joint_ranges, read_ranges


def some_ranges(first: int = 0) -> TrainingRanges:
    plan, cases = head_plan(), range(first, first + 6)
    found = {str(n): measure_findings(tumour(n, head(n)), plan) for n in cases}
    return fit_ranges(
        MeasuredRun(
            patients={str(n): str(n) for n in cases},
            scans={str(n): measure_scan(head(n), plan) for n in cases},
            references={c: found[c] for c in list(found)[:3]},
            predictions={c: found[c] for c in list(found)[3:]},
        )
    )


def test_ranges_come_back_as_written(tmp_path: Path) -> None:
    ranges = some_ranges()
    (tmp_path / FILE).write_text(ranges.model_dump_json())
    assert read_ranges(tmp_path) == ranges
    assert (tmp_path / FILE).stat().st_size < 100_000
    assert "findings 25.0 % (3 patients)" in ranges.describe()


def test_folders_without_ranges_and_of_newer_versions_are_not_checked(
    tmp_path: Path,
) -> None:
    assert read_ranges(tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps({"version": 99, "other": 1}))
    assert read_ranges(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1}', "\x00", '{"version": "x"}']
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ModelError, match=FILE):
        read_ranges(tmp_path)


def test_models_that_predict_together_take_the_widest_ranges() -> None:
    one, other = some_ranges(), some_ranges(10)
    joint = joint_ranges([one, other])
    assert joint is not None
    for both, a, b in zip(joint.ranges, one.ranges, other.ranges, strict=True):
        assert (both.low, both.high) == (min(a.low, b.low), max(a.high, b.high))
    assert joint.limits["order"].excess == max(
        one.limits["order"].excess, other.limits["order"].excess
    )
    assert joint_ranges([one, None]) is None
    assert joint_ranges([one]) == one
