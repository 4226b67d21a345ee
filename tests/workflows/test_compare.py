"""Studies: variations are laid over a base, paired, compared and never flattered."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from medseg.errors import DatasetError, MissingFileError, SettingsError
from medseg.workflows.compare import (
    compare,
    compare_runs,
    read_run_tables,
    write_comparison,
)
from medseg.workflows.study import merge, read_study


def table(shift: float, *, seed: int = 1, num_cases: int = 20) -> pd.DataFrame:
    """Dice of one structure; the same cases are hard in every variation."""
    hard = np.random.default_rng(0).uniform(0.5, 0.9, num_cases)
    noise = np.random.default_rng(seed).normal(0, 0.005, num_cases)
    names = [f"case_{number:02d}" for number in range(num_cases)]
    return pd.DataFrame(
        {
            "case_id": names,
            "patient_id": names,
            "structure": "lesion",
            "dice": hard + shift + noise,
        }
    )


def test_a_clear_winner_is_called_one(tmp_path: Path) -> None:
    tables = {
        "good": table(0.05, seed=3),
        "poor": table(0.0),
        "same": table(0.001, seed=2),
    }
    found = compare_runs(tables, ["dice"])
    assert found.ranking.iloc[0]["variation"] == "good"
    first = found.statistics.iloc[0]
    assert (first["first"], first["wins"]) == ("good", 20)
    assert "good has the best mean and differs from poor, same" in found.text
    write_comparison(tmp_path, found)
    assert (tmp_path / "figures" / "dice.png").stat().st_size > 10_000


def test_chance_is_called_chance() -> None:
    found = compare_runs({"a": table(0.0), "b": table(0.0, seed=2)}, ["dice"])
    assert "by more than chance explains" in found.text
    assert "differs from none" in found.text


def test_variations_on_different_cases_are_refused() -> None:
    with pytest.raises(DatasetError, match="case"):
        compare_runs({"a": table(0.0), "b": table(0.0).iloc[1:]}, ["dice"])


def test_one_variation_is_nothing_to_compare() -> None:
    with pytest.raises(DatasetError, match="nothing to compare: 1 variations"):
        compare_runs({"a": table(0.0)}, ["dice"])


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="the run has not finished"):
        read_run_tables({"a": tmp_path})


def test_merging_replaces_what_has_another_name() -> None:
    base = {"loss": {"name": "dice_ce", "ce_weight": 2.0}, "seed": 1}
    assert merge(base, {"loss": {"name": "focal"}})["loss"] == {"name": "focal"}
    assert merge(base, {"loss": {"ce_weight": 3.0}})["loss"] == {
        "name": "dice_ce",
        "ce_weight": 3.0,
    }


def write_study(folder: Path, **changes: object) -> Path:
    base = {
        "prepare": {"num_folds": 3},
        "plan": {
            "patch_size": [16, 16, 16],
            "batch_size": 2,
            "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
        },
        "training": {"steps": 2, "precision": "float32"},
        "metrics": {"num_resamples": 100, "distances": False},
        "tracking": {"enabled": False},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    study = {
        "name": "losses",
        "base": "base.yaml",
        "folds": [0, 1],
        "variations": {
            "dice_ce": {"training": {"loss": {"name": "dice_ce"}}},
            "dice_focal": {"training": {"loss": {"name": "dice_focal"}}},
        },
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def test_runs_come_fold_by_fold(tmp_path: Path) -> None:
    _, runs = read_study(write_study(tmp_path))
    assert [run.name for run in runs] == [
        "dice_ce_fold0_seed0",
        "dice_focal_fold0_seed0",
        "dice_ce_fold1_seed0",
        "dice_focal_fold1_seed0",
    ]


def test_a_wrong_variation_is_named(tmp_path: Path) -> None:
    variations = {"a": {}, "b": {"training": {"los": {}}}}
    with pytest.raises(SettingsError, match=r"variation b: training\.los: unknown key"):
        read_study(write_study(tmp_path, variations=variations))


def test_a_study_is_trained_compared_and_continued(
    tmp_path: Path, tiny_study: Path
) -> None:
    path = write_study(tmp_path)
    found = compare(path, tmp_path / "out", data=tiny_study)
    assert set(found.statistics["structure"]) == {"ball", "kernel"}
    assert found.statistics.iloc[0]["n"] >= 2
    weights = tmp_path / "out/runs/dice_ce_fold0_seed0/model/weights.safetensors"
    before = weights.stat().st_mtime_ns
    compare(path, tmp_path / "out", data=tiny_study)
    assert weights.stat().st_mtime_ns == before
