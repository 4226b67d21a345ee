"""What a run keeps of its cases to judge later scans by."""

import csv
from pathlib import Path
from typing import Any

import pytest

from medseg.model import load_model
from medseg.runs import finish
from medseg.runs.config import RunConfig
from medseg.runs.train import train
from medseg.settings import parse_settings
from medseg.testing.tiny_cells import make_tiny_cells

TINY: dict[str, Any] = {
    "plan": {
        "patch_size": [16, 16, 16],
        "batch_size": 1,
        "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
    },
    "training": {"steps": 4, "precision": "float32"},
    "metrics": {"num_resamples": 100},
    "tracking": {"enabled": False},
}


@pytest.mark.parametrize("fold", [0, None])
def test_runs_keep_ranges_and_say_how_often_they_err(
    fold: int | None, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "write_report", lambda *_, **__: None)
    values = {**TINY, "data": str(tiny_study), "fold": fold}
    config = parse_settings(RunConfig, values, source="test")
    trained = train(config, tmp_path / "run", device="cpu")
    ranges = load_model(trained.folder).ranges
    assert ranges is not None
    assert ranges.num_cases == 6
    assert {one.kind for one in ranges.ranges} >= {"spacing", "layout", "volume"}
    assert ranges.limits["geometry"].num_patients == 5  # two cases show one patient
    held_out = ranges.limits["findings"]
    assert (held_out.num_patients > 0) == (fold is not None)
    card = (trained.folder / "model" / "card.md").read_text()
    assert "Plausibility of scans: compared with 6 cases" in card
    assert ("findings" in card) == (fold is not None)
    with (tmp_path / "run" / "validation" / "plausibility.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert {row["group"] for row in rows} <= {"trained on", "held out"}


def test_pictures_of_cells_have_ranges_without_geometry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "write_report", lambda *_, **__: None)
    values = {
        "data": str(make_tiny_cells(tmp_path / "cells")),
        "fold": 0,
        "plan": {
            "patch_size": [32, 32],
            "batch_size": 1,
            "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
        },
        "training": {"steps": 4, "precision": "float32"},
        "metrics": {"num_resamples": 100},
        "tracking": {"enabled": False},
    }
    config = parse_settings(RunConfig, values, source="test")
    trained = train(config, tmp_path / "run", device="cpu")
    ranges = load_model(trained.folder).ranges
    assert ranges is not None
    kinds = {one.kind for one in ranges.ranges}
    assert {"quantile", "layout", "objects", "object_size"} <= kinds
    assert not kinds & {"spacing", "extent", "directions", "volume"}
