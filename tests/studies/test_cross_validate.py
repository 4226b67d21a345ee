"""Cross-validation: each case once, by the model that held it out."""

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

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
    mean = cases.groupby("case_id")["dice"].mean().mean()
    assert parent.data.metrics["dice"] == pytest.approx(mean, abs=1e-4)
    assert (parent.data.tags["fold"], parent.data.metrics["n"]) == ("several", 6)
    folders = {folder.name: folder for folder in found.runs}
    for run in runs:
        if run != parent:
            folder = folders[run.info.run_name]
            check_tracked(client, run, folder=folder, tmp_path=tmp_path)

    weights = found.runs[0] / "model" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    cross_validate(config(tiny_study), out, device="cpu")
    assert weights.stat().st_mtime_ns == before


def check_tracked(
    client: MlflowClient, run: Run, *, folder: Path, tmp_path: Path
) -> None:
    """A run has what tables of runs show, its data and its model, and no path."""
    cases = pd.read_csv(folder / "validation" / "cases.csv")
    dice = cases.groupby("case_id")["dice"].mean().mean()
    assert run.data.metrics["dice"] == pytest.approx(dice, abs=1e-4)
    assert {"nsd", "hd95"} <= set(run.data.metrics)
    assert run.data.metrics["n"] == cases["case_id"].nunique() == 2
    tags = run.data.tags
    assert (tags["loss"], tags["network"], tags["seed"]) == ("dice_ce", "unet", "0")
    assert tags["mlflow.note.content"].startswith("unet with dice_ce on Tiny (6 cases")
    assert not [tag for tag in tags if tag.startswith("changed.")]
    roles = {d.tags[0].value: d.dataset for d in run.inputs.dataset_inputs}
    assert json.loads(roles["training"].profile)["num_cases"] == 4
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert {m.dataset_digest for m in model.metrics} == {roles["validation"].digest}
    assert (model.params["loss"], model.params["steps"]) == ("dice_ce", "2")
    told = [*run.data.params.values(), *tags.values(), roles["training"].source]
    kept = client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    told.append(Path(kept).read_text())
    assert not [text for text in told if str(tmp_path.parent) in text]
    tables = json.loads(tags["mlflow.loggedArtifacts"])
    assert {"cases.json", "summary.json"} == {table["path"] for table in tables}


def test_an_unknown_fold_is_named(tmp_path: Path, tiny_study: Path) -> None:
    with pytest.raises(SettingsError, match="no fold 7, only"):
        cross_validate(config(tiny_study), tmp_path / "cv", folds=[0, 7])
