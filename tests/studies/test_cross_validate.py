"""Cross-validation: each case once, by the model that held it out."""

from pathlib import Path

import pandas as pd
import pytest

from medseg.errors import SettingsError
from medseg.runs.config import RunConfig
from medseg.studies.cross_validate import cross_validate
from medseg.tracking.address import default_tracking_uri
from medseg.tracking.store import connect


def config(data: Path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": data,
            "prepare": {"num_folds": 3},
            "training": {"steps": 2, "validation_cases": 1},
        }
    )


def test_every_case_is_held_out_once_and_a_second_call_trains_nothing(
    tmp_path: Path, tiny_study: Path
) -> None:
    out = tmp_path / "runs" / "cv"
    found = cross_validate(config(tiny_study), out, device="cpu")
    cases = pd.read_csv(out / "validation" / "cases.csv")
    assert not cases.duplicated(["case_id", "structure"]).any()
    parts = [pd.read_csv(run / "validation" / "cases.csv") for run in found.runs]
    both = cases.merge(pd.concat(parts), on=["case_id", "structure"], validate="1:1")
    assert len(both) == len(cases) == sum(map(len, parts))
    pd.testing.assert_series_equal(both["dice_x"], both["dice_y"], check_names=False)
    page = (out / "report.html").read_text()
    assert "3 folds" in page
    for part in ("Sampling statistics", "fold 2"):
        assert part in page

    client = connect(default_tracking_uri(out.parent))
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    children = [r.data.tags.get("mlflow.parentRunId") for r in runs if r != parent]
    assert children == [parent.info.run_id] * 3

    weights = found.runs[0] / "model" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    cross_validate(config(tiny_study), out, device="cpu")
    assert weights.stat().st_mtime_ns == before


def test_an_unknown_fold_is_named(tmp_path: Path, tiny_study: Path) -> None:
    with pytest.raises(SettingsError, match=r"fold 7: .*no fold 7, only"):
        cross_validate(config(tiny_study), tmp_path / "cv", folds=[0, 7])
